"""Completion in real shells: Tab completes commands, options, and the names of the master's queues."""

import os
import pty
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

    def read(self) -> str:
        """Return all that the shell has written."""
        with suppress(OSError):
            while data := os.read(self.fd, 65_536):
                self._output += data.decode(errors="replace")
        return self._output

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self.fd, text.encode())

    def prints(self, text: str) -> None:
        """Wait for a line of output."""
        eventually(lambda: f"\n{text}" in self.read().replace("\r", "\n"), text, self.read)

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
        made.type("echo loaded=$?\n")
        made.prints("loaded=0")
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("shell", list(SETUP))
def test_tab_completes_commands_options_and_queues(shell: str, port: int, tmp_path: Path) -> None:
    """The line after Tab is printed instead of run: Ctrl-A takes the cursor to its beginning."""
    needs(shell)
    with interactive(shell, port, tmp_path) as typed:
        for beginning, whole in CASES:
            typed.type(f"{beginning}\t\x01echo completed: \n")
            typed.prints(f"completed: {whole}")


def test_fish_completes_commands_options_and_queues(port: int) -> None:
    """`complete -C` prints what Tab would offer."""
    needs("fish")
    for beginning, whole in CASES:
        script = f"distq completion fish | source; complete -C '{beginning}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script], env=environment(port), capture_output=True, text=True, check=True
        )
        offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
        assert offered == [whole.split()[-1]], done.stderr


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
