"""The frame of all commands: errors are sentences with exit codes, commands are imported when used, Ctrl-C is 130."""

import errno
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.ports import free_port
from tests.waiting import eventually

import distq
from distq import __version__
from distq.cli import main
from distq.cli.app import COMMANDS, app, explained, run
from distq.cli.examples import EXAMPLES
from distq.cli.exit_report import report_end
from distq.cli.groups import ELSEWHERE
from distq.core.errors import DistqError, QueueFull
from distq.core.ports import CommitRefused
from distq.net.dial import CannotReach, dial
from distq.settings import Address, SettingsError

HEAVY = (
    "structlog",
    "prometheus_client",
    "rich",
    "uvicorn",
    "starlette",
    "uvloop",
    "dotenv",
    "asyncio",
    "click.testing",
)


UNREADABLE = (
    f"distq: The settings file none cannot be read by user {os.getuid()}: No such file or directory. "
    "Name a file that this user may read.\n"
)


def test_the_version_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read it."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"distq {__version__}\n"


def test_help_lists_every_command_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """The list has a sentence for each command, and the exit codes."""
    assert run(["--help"]) == 0
    output = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z]+) {2,}\S", output.split("Commands:")[1], re.MULTILINE)
    assert listed == list(COMMANDS)
    assert "Exit codes" in output


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_help_is_never_cut_off(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list has the whole sentence of each command, however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", columns)
    for args in (["--help"], *([name, "--help"] for name in ("queue", "schedule", "dead", "store", "key"))):
        assert run(args) == 0
        listed = capsys.readouterr().out.split("Commands:")[1]
        assert not re.search(r"\.\.\.$", listed, re.MULTILINE)


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below one, with its words."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            below = click.Context(found, info_name=name, parent=context)
            yield below.command_path.split(" ", 1)[1], found
            yield from commands(found, below)


def test_every_command_has_examples_that_the_command_line_reads() -> None:
    """No example is of an unknown command; tests/e2e/test_examples.py runs them."""
    found = dict(commands(app, click.Context(app, info_name="distq")))
    assert found.keys() == EXAMPLES.keys()
    for command_name, lines in EXAMPLES.items():
        assert lines
        assert all(line.removeprefix("--env-file prod.env ").startswith(command_name.split()[0]) for line in lines)
        assert f"  distq {lines[0]}" in (found[command_name].epilog or "")
        for line in lines:
            args = shlex.split(line.partition(" > ")[0])
            command: click.Command = app
            context: click.Context | None = None
            while isinstance(command, click.Group):
                context = command.make_context("distq", args, parent=context)
                args = [*context._protected_args, *context.args]
                _, after, args = command.resolve_command(context, args)
                assert after is not None
                command = after
            command.make_context(line, list(args), parent=context)


def test_the_examples_are_those_of_the_present_path() -> None:
    """A group that was called by itself leaves none behind: `schedule list` had those of `list` then."""
    root = click.Context(app, info_name="distq")
    schedule = app.get_command(root, "schedule")
    assert isinstance(schedule, click.Group)
    schedule.get_command(click.Context(schedule, info_name="schedule"), "list")
    within = schedule.get_command(click.Context(schedule, info_name="schedule", parent=root), "list")
    store = app.get_command(root, "store")
    assert isinstance(store, click.Group)
    within_store = click.Context(store, info_name="store", parent=root)
    store.get_command(within_store, "stat")
    stat = store.get_command(within_store, "stat")
    assert within is not None
    assert stat is not None
    assert "  distq schedule list\n" in str(within.epilog)
    assert "  distq list\n" not in str(within.epilog)
    assert str(stat.epilog).count("Examples:") == 1
    assert not str(stat.epilog).startswith("\b\nExamples:"), "its own words come first"


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The output has no error."""
    assert run(["key"]) == 2
    assert capsys.readouterr().err.startswith("Usage: distq key")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its module can be imported, and the help has more than its name."""
    assert run([name, "--help"]) == 0
    assert f"Usage: distq {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["bogus"], "distq: No such command 'bogus'. See `distq --help`.\n"),
        (["statsu"], "distq: No such command 'statsu'. Did you mean `distq status`? See `distq --help`.\n"),
        (
            ["queue", "sett"],
            "distq: No such command 'sett'. Did you mean `distq queue set`? See `distq queue --help`.\n",
        ),
        (["status", "--jsn"], "distq: No such option '--jsn'. Did you mean '--json'? See `distq status --help`.\n"),
        (
            ["submit", "m:f", "1", "--wiat"],
            "distq: No such option '--wiat'. Did you mean '--wait'? See `distq submit --help`.\n",
        ),
        (
            ["submit", "--queeu", "mail", "m:f"],
            "distq: No such option '--queeu'. Did you mean '--queue'? See `distq submit --help`.\n",
        ),
        (
            ["submit", "--queeu=mail", "m:f", "-1"],
            "distq: No such option '--queeu'. Did you mean '--queue'? See `distq submit --help`.\n",
        ),
        (["submit", "-q", "mail", "m:f"], "distq: No such option '-q'. See `distq submit --help`.\n"),
        (
            ["schedule", "add", "--evry", "5s", "nightly", "m:f"],
            "distq: No such option '--evry'. Did you mean '--every'? See `distq schedule add --help`.\n",
        ),
        (
            ["list", "--stat", "running"],
            "distq: No such option '--stat'. Did you mean '--state'? See `distq list --help`.\n",
        ),
        (
            ["schedule", "add", "nightly", "m:f"],
            "distq: Give one of --every and --cron, not neither. See `distq schedule add --help`.\n",
        ),
        (
            ["schedule", "add", "nightly", "m:f", "--every", "1h", "--cron", "0 * * * *"],
            "distq: Give one of --every and --cron, not both. See `distq schedule add --help`.\n",
        ),
        (["status", "--bogus"], "distq: No such option '--bogus'. See `distq status --help`.\n"),
        (["worker"], None),
        (["master"], None),
        (["status"], None),
        (["key", "show"], None),
        (
            ["--env-file", "none", "settings"],
            UNREADABLE,
        ),
    ],
)
def test_usage_and_settings_end_with_2(
    args: list[str], sentence: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard error has one or two sentences; without a key they say how to make one."""
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == sentence or (sentence is None and "distq key new" in err and err.count("\n") == 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--concurrency", "0"], "--concurrency is 0; it must be at least 1."),
        (["--executor", "fiber"], "--executor is 'fiber', which cannot be read. It takes process or thread."),
        ([], "DISTQ_EXECUTOR_TASKS is 0; it must be at least 1."),
    ],
)
def test_an_error_of_a_setting_names_the_option_that_has_set_it(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting of the environment keeps its own name."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "a key of the tests that is long enough")
    if not options:
        monkeypatch.setenv("DISTQ_EXECUTOR_TASKS", "0")
    assert run(["worker", *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        (
            ["--every", "0s"],
            "--every is a duration from 0.1 s to 366 days: seconds, or a text as in 30s or 1h30m; not '0s'. See",
        ),
        (["--every", "5s", "--timezone", "Europe/Rome"], "--timezone needs --cron too. See"),
        (["--every", "5s", "--queue", ""], "--queue is a text of 1 to 64 bytes"),
    ],
)
def test_an_error_of_the_client_names_options(
    options: list[str], beginning: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own message has the keyword arguments of Python."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "a key of the tests that is long enough")
    assert run(["schedule", "add", "nightly", "m:f", *options]) == 2
    assert capsys.readouterr().err.startswith(f"distq: {beginning}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("ls", "No such command 'ls'. Did you mean `distq list`? See `distq --help`."),
        ("ps", "No such command 'ps'. Did you mean `distq list`? See `distq --help`."),
        ("queue list", "No such command 'list'. `distq status` lists queues. See `distq queue --help`."),
        (
            "queue pause mail",
            "No such command 'pause'. Did you mean `distq pause --queue NAME`? See `distq queue --help`.",
        ),
        *(
            (
                f"{name} mail",
                f"Got unexpected extra argument 'mail'. Did you mean `--queue mail`? See `distq {name} --help`.",
            )
            for name in ("pause", "resume", "purge")
        ),
        ("pause --queue a b", "Got unexpected extra argument 'b'. See `distq pause --help`."),
        (
            "completion bsh",
            (
                "Invalid value for 'SHELL': 'bsh' is not one of 'bash', 'zsh', 'fish'. Did you mean 'bash'? See "
                "`distq completion --help`."
            ),
        ),
        (
            "settings --for qqq",
            "Invalid value for '--for': 'qqq' is not one of 'master', 'worker', 'client'. See `distq settings --help`.",
        ),
        (
            "queue set mail --capacity 1e3",
            "Invalid value for '--capacity': '1e3' is not a whole number, such as 1000. See `distq queue set --help`.",
        ),
        (
            "up --workers two",
            "Invalid value for '--workers': 'two' is not a whole number, such as 100. See `distq up --help`.",
        ),
    ],
)
def test_a_command_or_value_of_another_program_leads_to_the_right_one(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Newcomers type what other programs of this kind take."""
    assert run(words.split()) == 2
    assert capsys.readouterr().err == f"distq: {sentence}\n"


def test_a_mistyped_state_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence lists all states, and ends with the question."""
    assert run(["list", "--state", "Runing"]) == 2
    assert "'expired'. Did you mean 'running'? See `distq list --help`." in capsys.readouterr().err


def test_commands_of_other_programs_do_not_exist_here() -> None:
    """A command that is added must leave the list of those that lead elsewhere."""
    assert not ELSEWHERE.keys() & dict(EVERY).keys()


@pytest.mark.parametrize(
    "words",
    [
        "result {}",
        "show {}",
        "why {}",
        "stack {}",
        "cancel 1-2 {}",
        "list --after {}",
        "dead list --after {}",
        "dead show {}",
        "dead retry {}",
        "dead purge {}",
    ],
)
@pytest.mark.parametrize("text", ["123", "", "é", "1A-2F", "zzz"])
def test_a_text_that_is_no_task_id_is_one_error_of_usage_in_every_command(
    words: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No master is asked: there is none here."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "a key of the tests that is long enough")
    assert run([text if word == "{}" else word for word in words.split()]) == 2
    command = " ".join(word for word in words.split() if word.isalpha())
    sentence = f"distq: {text!r} is no task id; task ids look like 1a-2f. See `distq {command} --help`.\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize(
    "args", [["status"], ["submit", "m:f"], ["list"], ["worker"], ["up"], ["mcp"], ["cancel", "1-2a"]]
)
def test_port_0_is_a_sentence_in_every_command_at_once(
    args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command waits for a master that cannot be there."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.setenv("DISTQ_ADDRESS", "127.0.0.1:0")
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert (out, "no master can be reached at port 0" in err) == ("", True)


@pytest.mark.parametrize("args", [["health"], ["store", "stat"], ["status"], ["key", "show"], ["settings"]])
def test_a_mistyped_setting_is_a_warning_of_every_command(
    args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning names the nearest setting, and comes once."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.setenv("DISTQ_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DISTQ_HTTP_ADDRESS", "127.0.0.1:2")
    monkeypatch.setenv("DISTQ_LOG_LEVLE", "debug")
    run(args)
    warning = "distq: warning: DISTQ_LOG_LEVLE is not a setting; did you mean DISTQ_LOG_LEVEL?\n"
    assert capsys.readouterr().err.count(warning) == 1


def test_a_worker_with_accept_json_needs_modules(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without modules the worker has no task that it may run; and a plain handler receives pickles."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.setenv("DISTQ_ACCEPT", "json")
    assert run(["worker"]) == 2
    assert "Name them as arguments, or in DISTQ_TASKS" in capsys.readouterr().err
    assert run(["worker", "--plain-handler", "operator:neg"]) == 2
    assert "DISTQ_ACCEPT=json does not admit" in capsys.readouterr().err


def test_options_are_read_as_settings_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong option gets the error of the setting."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    assert run(["worker", "--plain-handler", "square"]) == 2
    assert "It takes module:function" in capsys.readouterr().err


class Terse(DistqError):
    """The docstring is the sentence"""  # noqa: D415 - without its full stop on purpose

    hint = "do this instead"
    exit_code = 7


@pytest.mark.parametrize(
    ("error", "text", "exit_code"),
    [
        (SettingsError("It is wrong."), "It is wrong.", 2),
        (CannotReach("no master answers"), f"No master answers. {CannotReach.hint}", 3),
        (CommitRefused("The disk is full."), "The disk is full.", 4),
        (QueueFull("The queue is full."), f"The queue is full. {QueueFull.hint}", 1),
        (Terse(), "The docstring is the sentence. Do this instead.", 7),
        (click.ClickException("no"), "No.", 1),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(error: Exception, text: str, exit_code: int) -> None:
    """The sentences say what happened, then what to do."""
    assert explained(error) == (text, exit_code)


def test_a_defect_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback is for the bug report."""
    error = ZeroDivisionError("division by zero")
    text, exit_code = explained(error)
    assert (text.startswith("This is a defect"), exit_code) == (True, 1)
    report_end(["status"], text, exit_code, error)
    assert re.search(r"(?s)ZeroDivisionError: .*\ndistq: This is a defect", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("args", "form", "reason"),
    [
        (["master"], "json", "There is no key"),
        (["worker", "--bogus"], "", "No such option"),
        (["--env-file", "form", "master"], "", "There is no key"),
    ],
)
def test_the_last_message_of_a_service_is_json_where_its_log_is(
    args: list[str], form: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the log also gets the reason of a failed start; a short command prints plain text."""
    (tmp_path / "form").write_text("DISTQ_LOG_FORMAT=json\n")
    monkeypatch.setenv("DISTQ_LOG_FORMAT", form)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_AUTHKEY")}
    ended = subprocess.run(
        [sys.executable, "-m", "distq", *args], check=False, env=environ, capture_output=True, text=True
    )
    (line,) = ended.stderr.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["code"]) == ("command_failed", "error", 2)
    assert event["reason"].startswith(reason)
    plain = subprocess.run(
        [sys.executable, "-m", "distq", "status"], check=False, env=environ, capture_output=True, text=True
    )
    assert plain.stderr.startswith("distq: There is no key")


def test_dotenv_is_read_from_the_folder_or_from_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--env-file` replaces `.env`."""
    (tmp_path / ".env").write_text("DISTQ_AUTHKEY=from-the-folder\n")
    (tmp_path / "other").write_text("DISTQ_AUTHKEY=from-another\n")
    assert run(["key", "show"]) == 0
    assert run(["--env-file", "other", "key", "show"]) == 0
    assert capsys.readouterr().out == "from-the-folder\nfrom-another\n"


def test_main_runs_the_command_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`distq` and `python -m distq` both call it."""
    monkeypatch.setattr(sys, "argv", ["distq", "key", "new"])
    assert main() == 0
    assert len(capsys.readouterr().out.strip()) == 43


@pytest.mark.parametrize("args", [["--version"], ["health"], ["key", "new"], ["--help"]])
def test_short_commands_import_nothing_heavy(args: list[str]) -> None:
    """A container runs the health check every few seconds."""
    program = "import sys; from distq.cli.app import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert loaded & set(HEAVY) == set()


def test_ctrl_c_ends_with_130_and_without_a_traceback() -> None:
    """The command ends so while it waits for the master."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {**os.environ, "DISTQ_AUTHKEY": "k" * 32, "DISTQ_ADDRESS": f"127.0.0.1:{silent.getsockname()[1]}"}
        command = [sys.executable, "-m", "distq", "status", "--wait", "60s"]
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            peer, _ = silent.accept()
            with peer:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")


@pytest.mark.parametrize("setting", ["DISTQ_BIND", "DISTQ_HTTP_ADDRESS"])
def test_a_port_that_is_taken_ends_the_master_with_2(setting: str) -> None:
    """The last line is a sentence that names the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ports = {"DISTQ_BIND": "127.0.0.1:0", "DISTQ_HTTP_ADDRESS": "127.0.0.1:0", setting: address}
        environ = {**os.environ, "DISTQ_AUTHKEY": "k" * 32, "DISTQ_STORE": "memory:", **ports}
        command = [sys.executable, "-m", "distq", "master"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert address in last
    assert setting in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_master_lives_without_standard_streams(closed: str) -> None:
    """A program that makes a daemon of it may close them; the master's sockets then do not get their numbers."""
    address = Address("127.0.0.1", free_port())
    environ = {**os.environ, "DISTQ_AUTHKEY": "k" * 32, "DISTQ_ADDRESS": str(address), "DISTQ_HTTP_ADDRESS": "off"}
    environ["DISTQ_STORE"] = "memory:"
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "distq", "master"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            eventually(lambda: _listens(address) or process.poll() is not None, "a master")
            assert process.poll() is None
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def _listens(address: Address) -> bool:
    try:
        dial([address], b"k" * 32, timeout_s=1.0).close()
    except CannotReach:
        return False
    return True


def test_a_reader_that_leaves_is_not_complained_of() -> None:
    """`head` closes the pipe when it has enough lines; click ends such a command with 1."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "distq", "settings", "--json"], stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("program", [["-m", "distq"], ["-P", "-c", "import distq.cli as cli; exit(cli.main())"]])
@pytest.mark.parametrize("name", ["queue", "logging"])
def test_a_file_in_the_way_of_the_standard_library_is_named(tmp_path: Path, name: str, program: list[str]) -> None:
    """In the current folder it does no harm; in PYTHONPATH every Python program imports it first."""
    (tmp_path / f"{name}.py").write_text("def task(): pass\n")
    command = [sys.executable, *program, "key", "new"]
    assert len(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout) == 44
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "DISTQ_AUTHKEY": "k" * 43}
    done = subprocess.run([*command[:-2], "worker"], env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{tmp_path}/{name}.py hides" in done.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["worker"], 0),
        (["--env-file", "worker", "master"], 0),
        (["--env-file", "worker", "status"], None),
        (["pause", "worker"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_service_that_hears_a_signal_before_it_has_begun_ends_well(
    args: list[str], code: int | None, number: signal.Signals
) -> None:
    """A service also exits as process 1, where the signal alone would not end it; the signal ends other commands."""
    program = f"os.kill(os.getpid(), {int(number)}); os._exit(5)"
    assert heard_early(program, args).returncode == (-number if code is None else code)


def heard_early(program: str, args: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process that handles signals as the command line with these arguments does at its start."""
    begin = "import os, signal, sys; from distq.cli.early import handle_signals; handle_signals(sys.argv[1:]);"
    command = [sys.executable, "-c", begin + program, *args]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("args", [["worker"], ["status"]])
def test_ctrl_c_before_a_command_has_begun_ends_with_130_and_without_a_traceback(args: list[str]) -> None:
    """The command ends so within an import too, where the traceback would name the interrupted place."""
    done = heard_early("os.kill(os.getpid(), signal.SIGINT); os._exit(5)", args)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_program_that_runs_a_command_inside_itself_keeps_its_handler_of_ctrl_c() -> None:
    """Only the handler of the command line's own start is replaced."""
    program = (
        "import signal; signal.signal(signal.SIGINT, lambda *_: print('mine')); from distq.cli.app import run;"
        "run(['settings', '--help']); signal.raise_signal(signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_the_caller_has_ignored_stays_ignored(number: signal.Signals) -> None:
    """A shell lets a script's background command ignore Ctrl-C, and `nohup` lets one ignore the end of the terminal."""
    program = f"os.kill(os.getpid(), {int(number)}); os._exit(5)"
    begin = f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_IGN);"
    begin += (
        "from distq.cli.early import raise_at_ctrl_c, handle_signals; handle_signals(['worker']); raise_at_ctrl_c();"
    )
    assert subprocess.run([sys.executable, "-c", begin + program], check=False).returncode == 5


def test_nothing_slow_is_imported_before_a_service_hears_signals() -> None:
    """Only C extensions and modules that the interpreter imports at its start are loaded before."""
    folder = str(Path(distq.__file__).parents[1])
    program = f"import sys; sys.path.append({folder!r}); import distq.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert {"typing", "signal", "enum", "re", "click"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize("sentence", ["queue.db is damaged.", "data/q is a folder.", "retry_for takes classes."])
def test_a_sentence_leaves_a_name_at_its_beginning_as_it_is(sentence: str) -> None:
    """A file whose name is printed with another letter does not exist."""
    assert explained(DistqError(sentence))[0] == sentence


@pytest.mark.parametrize(
    "args",
    [["submit", "a:b", "--queue", ""], ["submit", "a:\udcff"], ["submit", "a:b", "--queue", "q" * 99]],
    ids=["empty", "surrogate", "long"],
)
def test_names_out_of_range_are_usage_errors(
    args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command fails before it connects to a master."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 16)
    assert run(args) == 2
    assert "is a text" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["list", "--limit", "9" * 5_000],
        ["list", "--limit", "9_" * 2_000 + "9"],
        ["list", "--limit=" + "9" * 4_000],
        ["list", "--state", "x y\n" * 1_000],
        ["list", "--older", "x" * 5_000],
        ["status", "--wait", "9" * 5_000],
        ["result", "é" * 5_000],
        ["nonsense" * 500],
        ["--env-file", "e" * 5_000, "status"],
        ["dead", "list", "--since", "q" * 5_000],
    ],
)
def test_an_error_repeats_the_beginning_of_a_long_argument_alone(
    args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence after it has the help, and stays on the same screen."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 16)
    assert run(args) == 2
    assert 20 < len(capsys.readouterr().err) < 700


def test_a_text_that_is_no_rate_is_refused_in_two_sentences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentences say what is wrong, and how a rate is written."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 16)
    assert run(["queue", "set", "mail", "--rate", "0/s"]) == 2
    assert "'0/s' is not a rate. A rate is written 100/m" in capsys.readouterr().err


def test_a_master_with_next_to_no_descriptors_is_a_sentence() -> None:
    """The sentence also comes when there are too few descriptors for an event loop."""
    environ = {**os.environ, "DISTQ_AUTHKEY": "k" * 16, "DISTQ_STORE": "memory:", "DISTQ_BIND": "127.0.0.1:0"}
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)); "
        "from distq.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", limited, "master"]
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "may open 10 files" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_backup_needs_the_name_of_a_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty name, for example of a script's unset variable, does not mean the current folder."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 16)
    assert run(["store", "backup", ""]) == 2
    assert "FILE is empty" in capsys.readouterr().err


def distq_into(path: str, environ: dict[str, str], command: str = "settings") -> "subprocess.CompletedProcess[str]":
    """Run a command with its output in a file."""
    with Path(path).open("w", encoding="utf-8") as out:
        return subprocess.run(
            [sys.executable, "-m", "distq", command],
            env={**os.environ, **environ},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )


@pytest.mark.parametrize("settings", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("command", ["settings", "--help"])
def test_an_output_that_cannot_be_written_is_a_sentence(command: str, settings: dict[str, str]) -> None:
    """A full disk is no defect of distq."""
    done = distq_into("/dev/full", settings, command)
    assert done.stderr == "distq: The output cannot be written: No space left on device.\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("command", "function"),
    [
        (["master"], "distq.master.start.run"),
        (["worker"], "distq.worker.main.run"),
        (["store", "stat", "queue.db"], "distq.storage.inspect.inspect"),
    ],
)
@pytest.mark.parametrize("path", [None, "/tmp/distq/page"])
def test_a_full_disk_that_is_not_that_of_the_output_is_said_as_such(
    command: list[str],
    function: str,
    path: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The store, or /tmp; it was called the output, on which the operator then made room."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.setenv("DISTQ_LOG_FORMAT", "console")

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(function, fail)
    assert run(command) == 1
    printed = capsys.readouterr().err
    where = path or "A file of this process"
    assert f"{where} cannot be written: No space left on device. `df` shows which volume is full" in printed
    assert "defect" not in printed


def test_characters_that_the_output_cannot_encode_are_escaped() -> None:
    """A terminal without UTF-8 shows names of queues and files all the same."""
    done = distq_into("out", {"DISTQ_STORE": "sqlite:///é.db", "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "sqlite:///\\xe9.db" in Path("out").read_text(encoding="ascii")


@pytest.mark.parametrize("args", [["status", "--wait"], ["top", "--every"], ["result", "1-2", "--timeout"]])
def test_a_duration_of_more_than_a_year_is_a_usage_error(
    args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system's clocks overflow at longer ones."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    assert run([*args, "99999999999d"]) == 2
    assert "'99999999999d' is too long: it is at most 366 days." in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("args", "code"), [(["key", "new"], 0), (["status"], 2), (["bogus"], 2), ([], 2), (["top"], 2)]
)
def test_a_command_with_closed_standard_streams_ends_with_its_code(args: list[str], code: int, closed: str) -> None:
    """A daemon starts commands so; what it left open has no traceback."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "distq", *args]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (code, False)


@pytest.mark.parametrize("args", [["master"], ["worker"], ["status"], []])
def test_a_standard_error_that_code_has_closed_leaves_the_exit_code(
    args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of tasks may close it; the reason then has no place to go."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert run(args) == 2


def test_an_error_that_cannot_be_written_leaves_the_exit_code() -> None:
    """Standard error is on a full disk; the exit code says that the usage was wrong."""
    for args in ([], ["bogus"], ["status"]):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            done = subprocess.run([sys.executable, "-m", "distq", *args], check=False, stdout=full, stderr=full)
        assert done.returncode == 2, args


@pytest.mark.parametrize("environ", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "C", "LC_ALL": ""}])
@pytest.mark.parametrize("utf8", ["0", "1"])
def test_a_table_is_printed_in_every_locale(environ: dict[str, str], utf8: str) -> None:
    """Also where Python takes the terminal for ASCII and lets only bytes of file names pass."""
    Path(".env").write_text("DISTQ_STORE=sqlite:///größe.db\n", encoding="utf-8")
    done = distq_into("out", {**environ, "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    printed = Path("out").read_bytes()
    assert "größe.db".encode() in printed or rb"gr\xf6\xdfe.db" in printed


EVERY = sorted(commands(app, click.Context(app, info_name="distq")))
REPEATED = ("status", "list", "dead list", "schedule list")
"""The commands that list what changes while one looks."""


@pytest.mark.parametrize(("words", "command"), EVERY, ids=[words for words, _ in EVERY])
def test_a_mistyped_command_or_option_names_the_nearest_one(
    words: str, command: click.Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command, and every long option of it: with one letter too many, or one too few."""
    monkeypatch.setenv("DISTQ_LOG_FORMAT", "console")
    *above, name = words.split()
    assert run([*above, f"{name}x"]) == 2
    assert f"Did you mean `distq {words}`?" in capsys.readouterr().err
    for option in [option for param in command.params for option in param.opts if option.startswith("--")]:
        assert run([*words.split(), option[:-1]]) == 2
        assert f"Did you mean '{option}'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", REPEATED)
def test_a_command_that_lists_has_json_and_watch(words: str) -> None:
    """The same two options in each; tests/e2e/test_examples.py compares the fields of the JSON."""
    options = {option for param in dict(EVERY)[words].params for option in param.opts}
    assert {"--json", "--watch"} <= options


def test_no_other_command_is_a_list() -> None:
    """A new command named so belongs to the test above."""
    assert {words for words, _ in EVERY if words.split()[-1] in ("list", "status", "ls")} == set(REPEATED)


def test_ctrl_c_within_the_making_of_a_class_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python 3.11 raises RuntimeError from it there, as at the import of a command."""

    def interrupted(*_: object, **__: object) -> None:
        raise RuntimeError("Error calling __set_name__ on 'Field' instance") from KeyboardInterrupt()

    monkeypatch.setattr("distq.cli.app.app.main", interrupted)
    assert run(["worker"]) == 130
    assert capsys.readouterr() == ("", "")
