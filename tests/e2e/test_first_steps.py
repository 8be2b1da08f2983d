"""The first mistakes of a newcomer, each with the sentence that says what to do, as programs and commands print it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.waiting import SOON_S, eventually

SHOP = """
import threading
import distq

@distq.task(retries=0)
def add(first, second):
    return first + second

@distq.task(retries=0)
def fails(depth):
    if depth:
        return fails(depth - 1)
    raise ValueError("out of stock")

@distq.task(retries=0)
def lock():
    return threading.Lock()

def maker():
    def inner():
        return 1
    return inner
"""
PROGRAM = """
import threading
import distq
import shop

def local():
    return 1

class Own:
    pass

client = distq.Client(wait_at_exit=False)
print(repr(client.{call}.result(30)))
"""


class Newcomer:
    """A folder with tasks and programs, and the settings of a cluster."""

    def __init__(self, folder: Path, grid: Cluster) -> None:
        self.folder = folder
        self._environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
        self._environ |= {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
        self._environ |= {"DISTQ_CONNECT_WAIT_S": "2", "DISTQ_STORE": "memory:", "DISTQ_HTTP_ADDRESS": "off"}
        (folder / "shop.py").write_text(SHOP)

    def starts(self, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
        """Start Python in the folder; an empty setting is none."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self._environ, "DISTQ_LOG_FORMAT": "console", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def prints(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run Python in the folder; return the exit code, the output and the errors."""
        with self.starts(*arguments, **settings) as process:
            out, err = process.communicate(timeout=SOON_S)
        return process.returncode, out, err

    def calls(self, call: str, **settings: str) -> tuple[int, str, str]:
        """Run a program that calls a method of a client and prints the result."""
        (self.folder / "program.py").write_text(PROGRAM.replace("{call}", call))
        return self.prints("program.py", **settings)

    def runs(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run a command of distq."""
        return self.prints("-m", "distq", *arguments, **settings)


@pytest.fixture
def alone(tmp_path: Path, grid: Cluster) -> Newcomer:
    """Return a newcomer whose master and worker the test starts."""
    return Newcomer(tmp_path, grid)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """Yield a newcomer with a master and a worker, for all tests that change nothing there."""
    folder = tmp_path_factory.mktemp("shop")
    with cluster(tmp_path_factory.mktemp("logs")) as grid:
        newcomer = Newcomer(folder, grid)
        grid.master()
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        grid.run("worker", "shop", "--concurrency", "1", PYTHONPATH=path).logs("executor_joined")
        yield newcomer


@pytest.mark.parametrize("args", [("submit", "shop:add", "1", "2"), ("worker", "shop"), ("master",), ("status",)])
def test_a_command_with_no_key_says_how_to_make_one(alone: Newcomer, args: tuple[str, ...]) -> None:
    """One line, and the exit code of usage and settings."""
    code, out, err = alone.runs(*args, DISTQ_AUTHKEY="")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "There is no key: DISTQ_AUTHKEY is not set. Make one with `distq key new` and give the same key to" in err


def test_a_program_with_no_key_says_how_to_make_one(alone: Newcomer) -> None:
    """The last line of the traceback is the sentence."""
    _, _, err = alone.calls("submit(shop.add, 1, 2)", DISTQ_AUTHKEY="")
    assert "There is no key" in err.splitlines()[-1]
    assert "distq key new" in err.splitlines()[-1]


def test_command_and_program_name_the_address_at_which_no_master_is(alone: Newcomer) -> None:
    """They also name the setting, and the command that starts one."""
    _, _, err = alone.calls("submit(shop.add, 1, 2)")
    code, _, of_command = alone.runs("submit", "shop:add", "1", "2", "--wait")
    assert code == 3
    address = alone._environ["DISTQ_ADDRESS"]
    for printed in (err, of_command):
        assert f"The master at {address} cannot be reached: Connection refused." in printed
        assert "Check DISTQ_ADDRESS, and that `distq master` runs there." in printed


@pytest.mark.parametrize("way", ["command", "program"])
def test_a_wait_without_a_worker_names_the_command_that_starts_one(alone: Newcomer, grid: Cluster, way: str) -> None:
    """After five seconds, with the command that starts one; the wait goes on, and the worker ends it."""
    grid.master()
    (alone.folder / "program.py").write_text(PROGRAM.replace("{call}", "submit(shop.add, 1, 2)"))
    started = ("-m", "distq", "submit", "shop:add", "1", "2", "--wait") if way == "command" else ("program.py",)
    with alone.starts(*started) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "No worker is connected. `distq worker` starts one." in line:
                break
        grid.run("worker", "shop", "--concurrency", "1", PYTHONPATH=str(alone.folder))
        out, _ = process.communicate(timeout=SOON_S)
    assert (process.returncode, out) == (0, "3\n")


def test_a_wrong_key_is_named_by_command_program_and_worker(served: Newcomer) -> None:
    """They say which setting both ends must have, and wait for nothing."""
    wrong = {"DISTQ_AUTHKEY": "another key that is as long as ours"}
    sentence = "The other end did not accept the authkey."
    _, _, err = served.calls("submit(shop.add, 1, 2)", **wrong)
    assert sentence in err
    assert "Give both ends the same DISTQ_AUTHKEY." in err
    for args in (("submit", "shop:add", "1", "2"), ("worker", "shop"), ("status",)):
        code, _, err = served.runs(*args, **wrong)
        assert (code, sentence in err, "the same DISTQ_AUTHKEY." in err) == (3, True, True)


def test_a_worker_names_the_module_that_it_cannot_import(served: Newcomer) -> None:
    """It ends at once: a worker without its tasks is of no use."""
    code, _, err = served.runs("worker", "shopp")
    assert code == 2
    assert "The module shopp cannot be imported: ModuleNotFoundError: No module named 'shopp'." in err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shop:ad", "module 'shop' has no attribute 'ad'"),
        ("elsewhere:add", "No module named 'elsewhere'"),
    ],
)
def test_a_name_that_no_worker_knows_is_explained_during_the_wait(served: Newcomer, name: str, reason: str) -> None:
    """With the worker's own error, and the setting for modules; the wait goes on."""
    with served.starts("-m", "distq", "submit", name, "1", "2", "--wait") as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "waits." in line and reason in line)
            assert f"Of 1 worker of its queue none knows a task '{name}' (DISTQ_TASKS)." in line
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("call", "sentences"),
    [
        (
            "submit(local)",
            ["local is defined in the program itself (__main__)", "Move it to the top level"],
        ),
        ("submit(lambda: 1)", ["a lambda (__main__:<lambda>) has no name", "Move it to the top level"]),
        ("submit(shop.maker())", ["is defined inside another function", "Move it to the top level"]),
        ("submit('shop:add')", ["'shop:add' is a text, not a function: submit_named('shop:add', [...])"]),
        ("submit(shop.add(1, 2))", ["3 is not a function", "submit(function, 1), not submit(function(1))."]),
        ("submit('a'.upper)", ["is bound to an object", "Submit a function that takes the object"]),
        ("submit(shop.add, 1)", ["add(): missing a required argument: 'second'"]),
        ("submit(shop.add, threading.Lock(), 1)", ["The arguments of shop:add cannot be pickled", "Pass values from"]),
        ("submit(shop.add, Own(), 1)", ["needs Own, which the program itself (__main__) defines", "Move the class to"]),
        ("submit(shop.lock)", ["its result cannot be sent: TypeError: cannot pickle", "Return plain values"]),
    ],
)
def test_a_call_that_cannot_be_made_ends_with_what_to_do(served: Newcomer, call: str, sentences: list[str]) -> None:
    """The last lines of the traceback have the fact and the fix."""
    code, _, err = served.calls(call)
    assert code == 1
    last = "\n".join(err.splitlines()[-3:])
    assert [sentence for sentence in sentences if sentence not in last] == []


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("@distq.task(retries=1)\n@distq.task(retries=2)\ndef f(): pass", "is a task already, with another name or"),
        ("distq.task('mail')", "@distq.task decorates a function, not 'mail'; a name is given as name='...'"),
        ("distq.task(len)", "cannot be decorated: decorate a function that calls it"),
        ("@distq.task(retrys=1)\ndef f(): pass", "there is no option 'retrys'"),
    ],
)
def test_a_decorator_that_cannot_be_meant_is_a_sentence(alone: Newcomer, source: str, sentence: str) -> None:
    """It is the last line of the traceback, when the module is imported."""
    code, _, err = alone.prints("-c", f"import distq\n{source}")
    assert code == 1
    assert sentence in err.splitlines()[-1]


def test_the_traceback_of_a_task_begins_at_its_function(served: Newcomer) -> None:
    """In the command, in the dead letter, and in the program: no line of distq is before it."""
    code, _, err = served.runs("submit", "shop:fails", "1", "--wait")
    assert code == 1
    task, _, remote = err.partition("\n")
    _, _, program = served.calls("submit(shop.fails, 1)")
    _, out, _ = served.runs("dead", "show", task)
    for text in (remote, out, program.partition("The above exception")[0]):
        lines = text[text.index("Traceback (most") :].splitlines()
        assert 'shop.py", line ' in lines[1]
        assert "/distq/" not in text
        assert "ValueError: out of stock" in text


def test_arguments_that_do_not_fit_are_a_traceback_of_one_line(served: Newcomer) -> None:
    """The error of the call itself has no frame of the user."""
    code, _, err = served.runs("submit", "shop:add", "1", "--wait")
    assert code == 1
    assert "TypeError: add() missing 1 required positional argument: 'second'" in err
    assert "/distq/" not in err


def test_a_port_that_is_taken_is_said_with_the_process_that_has_it(served: Newcomer) -> None:
    """The master names the process, and the setting for another port."""
    code, _, err = served.runs("master")
    assert code == 2
    assert f"Cannot listen at {served._environ['DISTQ_ADDRESS']}: Address already in use. Process " in err
    assert "or choose another with DISTQ_BIND." in err


@pytest.mark.parametrize("store", ["missing/queue.db", "file/queue.db"])
def test_a_folder_of_the_store_that_cannot_be_used_is_named(alone: Newcomer, store: str) -> None:
    """With what to do, and the exit code of the store; tests/storage has a folder without write permission."""
    (alone.folder / "file").touch()
    code, _, err = alone.runs("master", DISTQ_STORE=f"sqlite:///{store}")
    assert code == 4
    assert store.partition("/")[0] in err
    assert "Traceback" not in err


def test_a_mistyped_setting_is_a_warning_of_a_program_once(served: Newcomer) -> None:
    """Also of a program that makes two clients; it is a line of the log, so `-W error` does not end the program."""
    source = "import distq; distq.Client(wait_at_exit=False); distq.Client(wait_at_exit=False); print('made')"
    code, out, err = served.prints("-W", "error", "-c", source, DISTQ_ADRESS="127.0.0.1:1", DISTQ_PORT_9000_TCP="x")
    assert (code, out) == (0, "made\n")
    assert err == "DISTQ_ADRESS is not a setting; did you mean DISTQ_ADDRESS?\n"


def test_a_client_in_a_task_does_not_repeat_the_warning_of_the_worker(alone: Newcomer, grid: Cluster) -> None:
    """The worker has logged it at its start."""
    grid.master()
    (alone.folder / "inner.py").write_text(
        "import distq\nimport shop\n\ndef asks():\n    with distq.Client() as client:\n"
        "        return client.submit(shop.add, 1, 2).result()\n"
    )
    settings = {"PYTHONPATH": str(alone.folder), "DISTQ_ADRESS": "127.0.0.1:1"}
    worker = grid.run("worker", "shop", "inner", "--concurrency", "2", **settings)
    worker.logs("executor_joined")
    with grid.client() as client:
        assert client.submit_named("inner:asks", []).result(SOON_S) == 3
    eventually(lambda: worker.text.count("DISTQ_ADRESS is not a setting") == 1, "one warning", lambda: worker.text)
