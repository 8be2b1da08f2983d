"""Completion in real shells: Tab completes commands, options, and the names of the master's queues."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.waiting import eventually

from distq.cli.app import run

SETUP = {
    "bash": 'eval "$(distq completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(distq completion zsh)"',
}
START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
CASES = [
    ("distq settin", "distq settings"),
    ("distq queue re", "distq queue reset"),
    ("distq status --js", "distq status --json"),
    ("distq list --queue mai", "distq list --queue mail"),
    ("distq pause --queue mai", "distq pause --queue mail"),
    ("distq queue set mai", "distq queue set mail"),
]


def needs(shell: str) -> None:
    """Skip the test if the shell is missing."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: `apt-get install {shell}`")


def environment(port: int) -> dict[str, str]:
    """Return the environment of a shell in which `distq` is a command."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"DISTQ_ADDRESS": f"127.0.0.1:{port}", "DISTQ_AUTHKEY": KEY, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    return {**clean, **settings, "PATH": path}


@pytest.fixture
def port(grid: Cluster) -> int:
    """Return the port of a master with the queue `mail`."""
    grid.master()
    made = grid.run("queue", "set", "mail", "--rate", "5/s", "--create")
    assert made.ends() == 0, made.text
    return grid.port


class Shell:
    """An interactive shell in a pseudo-terminal."""

    def __init__(self, shell: str, port: int, folder: Path) -> None:
        self.fd, inside = pty.openpty()
        command = [shell, *START[shell]]
        environ = {**environment(port), "PS1": "$ ", "HOME": str(folder)}
        self._popen = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        os.set_blocking(self.fd, False)
        self._output = ""
        self._typed = 0

    def read(self) -> str:
        """Return all that the shell has written."""
        with suppress(OSError):
            while data := os.read(self.fd, 65_536):
                self._output += data.decode(errors="replace")
        return self._output

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self.fd, text.encode())

    def completes(self, beginning: str) -> str:
        """Return the line that Tab makes of a beginning; Ctrl-A takes the cursor to its start, and echo prints it."""
        self._typed += 1
        self.type(f"{beginning}\t\x01echo line-{self._typed}: \n")
        line = re.compile(rf"\nline-{self._typed}: ?([^\n]*)\n")
        eventually(lambda: line.search(self.read().replace("\r", "\n")), line.pattern, self.read)
        found = line.search(self.read().replace("\r", "\n"))
        assert found
        return found[1].strip()

    def end(self) -> None:
        """End the shell."""
        self._popen.kill()
        self._popen.wait()
        os.close(self.fd)


@contextmanager
def interactive(shell: str, port: int, folder: Path) -> Iterator[Shell]:
    """Yield a shell that has loaded the completion."""
    made = Shell(shell, port, folder)
    try:
        made.type(f"{SETUP[shell]}\n")
        assert made.completes("true") == "true"
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("shell", list(SETUP))
def test_tab_completes_commands_options_and_queues(shell: str, port: int, tmp_path: Path) -> None:
    """A master that answers late completes nothing, so Tab is pressed again."""
    needs(shell)
    with interactive(shell, port, tmp_path) as typed:
        for beginning, whole in CASES:
            eventually(lambda: typed.completes(beginning) == whole, whole, typed.read)  # noqa: B023 - called here


def test_fish_completes_commands_options_and_queues(port: int) -> None:
    """`complete -C` prints what Tab would offer."""
    needs("fish")
    environ = environment(port)

    def offered(beginning: str) -> list[str]:
        command = ["fish", "--no-config", "-c", f"distq completion fish | source; complete -C '{beginning}'"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    for beginning, whole in CASES:
        eventually(lambda: offered(beginning) == [whole.split()[-1]], whole)  # noqa: B023 - called here


@pytest.mark.parametrize("answer", ["none", "wrong key", "silence"])
def test_a_master_that_does_not_answer_completes_nothing_and_prints_nothing(grid: Cluster, answer: str) -> None:
    """Tab is never answered with an error in the line that the user types."""
    environ = environment(grid.port)
    if answer == "wrong key":
        grid.master()
        environ["DISTQ_AUTHKEY"] = "another key that is long enough to be taken"
    elif answer == "silence":
        listening = grid.run("-c", SILENT, str(grid.port), launcher=())
        eventually(lambda: "listening" in listening.text, "the silent server")
    environ |= {"_DISTQ_COMPLETE": "bash_complete", "COMP_WORDS": "distq list --queue ma", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-m", "distq"], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


SILENT = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print('listening', flush=True); time.sleep(60)"
)


def test_an_unknown_shell_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence has the shells that there are."""
    assert run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
