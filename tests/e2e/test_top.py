"""`distq top` in real terminals: its screens, its keys, and the terminal that it leaves behind."""

import contextlib
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

from distq.cli.examples import EXAMPLES

ENTERED = b"\x1b[?1049h"
LEFT = b"\x1b[?1049l"
NEEDS_TMUX = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: `apt-get install tmux`")


def environment(grid: Cluster, **more: str) -> dict[str, str]:
    """Return the settings of a command in a terminal."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("DISTQ_", "TMUX"))}
    settings = {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
    return {**clean, **settings, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8", **more}


class Top:
    """`distq top` in a pseudo-terminal; all that it writes is kept."""

    def __init__(self, grid: Cluster, arguments: Sequence[str], **more: str) -> None:
        self.fd, self._inside = pty.openpty()
        termios.tcsetwinsize(self.fd, (24, 80))
        self.before = termios.tcgetattr(self._inside)
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "distq", *arguments],
            env=environment(grid, **more),
            cwd=ROOT,
            stdin=self._inside,
            stdout=self._inside,
            stderr=self._inside,
            start_new_session=True,
        )
        os.set_blocking(self.fd, False)
        self.output = b""

    def read(self) -> bytes:
        """Return all that it has written so far."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65_536):
                self.output += data
        return self.output

    def shows(self, text: str) -> None:
        """Wait until it has written a text."""
        eventually(lambda: text.encode() in self.read(), text, self.read)

    def ends(self) -> int:
        """Wait for its end, read the rest, and return the exit code."""
        eventually(lambda: (self.read(), self.popen.poll())[1] is not None, "its end", self.read)
        self.read()
        return self.popen.returncode

    def is_restored(self) -> bool:
        """Whether the terminal has its modes and its screen again."""
        return termios.tcgetattr(self._inside) == self.before and self.output.count(ENTERED) == self.output.count(LEFT)

    def close(self) -> None:
        """End it and its terminal."""
        self.popen.kill()
        self.popen.wait()
        os.close(self._inside)
        os.close(self.fd)


@contextlib.contextmanager
def top(grid: Cluster, *arguments: str, **more: str) -> Iterator[Top]:
    """Yield a running `distq top`, and end it."""
    made = Top(grid, arguments or ("top", "--every", "100ms"), **more)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("end", "code"), [("q", 0), ("\x04", 0), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_the_terminal_is_restored_however_it_ends(grid: Cluster, end: str | int, code: int) -> None:
    """By q, by the end of the input, and by signals; the modes and the screen are those from before."""
    grid.master()
    with top(grid) as shown:
        shown.shows("1 queues")
        shown.shows("ready")
        assert not shown.is_restored()
        if isinstance(end, str):
            os.write(shown.fd, end.encode())
        else:
            shown.popen.send_signal(end)
        assert shown.ends() == code
        assert shown.is_restored()


def test_a_lost_master_is_shown_and_reached_again(grid: Cluster) -> None:
    """The terminal stays usable meanwhile, and q ends it."""
    master = grid.master()
    with top(grid) as shown:
        shown.shows("queues")
        master.destroy()
        shown.shows("Connecting again.")
        os.write(shown.fd, b"?")
        shown.shows("the stack of a running task")
        os.write(shown.fd, b"?2")
        grid.master()
        shown.shows("There are no workers.")
        os.write(shown.fd, b"q")
        assert shown.ends() == 0
        assert shown.is_restored()


def test_the_screen_is_not_touched_without_a_master_or_a_terminal(grid: Cluster) -> None:
    """The errors are sentences: 3 without a master, 2 without a terminal."""
    with top(grid) as shown:
        assert shown.ends() == 3
        assert ENTERED not in shown.output
        assert b"cannot be reached" in shown.output
    with top(grid, TERM="dumb") as shown:
        assert shown.ends() == 2
        assert b"needs a terminal" in shown.output
    piped = grid.run("top")
    assert piped.ends() == 2
    assert "distq status --watch" in piped.text


def test_no_color_means_none(grid: Cluster) -> None:
    """Reversed and bold text stays: it is no colour."""
    grid.master()
    for more, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        with top(grid, **more) as shown:
            shown.shows("submitted")
            os.write(shown.fd, b"q")
            assert shown.ends() == 0
            assert bool(re.search(rb"\x1b\[(?:\d+;)*[34]\d(?:;\d+)*m", shown.output)) == colours
            assert b"\x1b[1;7m" in shown.output or b"\x1b[7m" in shown.output


@pytest.mark.parametrize("line", EXAMPLES["top"])
def test_an_example_shows_the_queues(grid: Cluster, line: str) -> None:
    """The examples of its help."""
    grid.master()
    with top(grid, *line.split()) as shown:
        shown.shows("ready")
        os.write(shown.fd, b"q")
        assert shown.ends() == 0


class Tmux:
    """A real terminal of 80 by 24 with a shell."""

    def __init__(self, folder: Path, grid: Cluster) -> None:
        self.folder = folder
        self._command = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        shell = "env -i " + " ".join(f"{key}={shlex.quote(text)}" for key, text in environment(grid).items())
        self._run("new-session", "-d", "-x", "80", "-y", "24", f"cd {ROOT}; {shell} PS1='$ ' sh")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=True, timeout=SOON_S)
        return done.stdout

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux."""
        self._run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        """Change the size of the terminal."""
        self._run("resize-window", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self._run("capture-pane", "-p").split("\n")[:-1]]

    def shows(self, pattern: str) -> list[str]:
        """Wait until the screen matches, and return its lines."""
        eventually(
            lambda: re.search(pattern, "\n".join(self.screen), re.MULTILINE), pattern, lambda: "\n".join(self.screen)
        )
        return self.screen

    def end(self) -> None:
        """End the terminal and its shell."""
        self._run("kill-server")


@pytest.fixture
def tmux(tmp_path: Path, grid: Cluster) -> Iterator[Tmux]:
    """Yield a terminal."""
    made = Tmux(tmp_path, grid)
    try:
        yield made
    finally:
        made.end()


SCREEN = """\
distq top N:N N worker, N of N slots busy, N queues N:N:N
N ready N held N delayed N running N dead
submitted N/s S ended N/s S dead N/s S
 N queues N workers N running N failures sort: running
queue ready running delayed dead in/s ended/s last minute
mail N N N N N N S
"""


def masked(lines: list[str]) -> list[str]:
    """Return lines with N for numbers, S for sparklines, and one space for several."""
    text = "\n".join(lines)
    text = re.sub(r" *[▁▂▃▄▅▆▇█]+", " S", text)
    text = re.sub(r"\d[\d,.]*|(?<= )-(?= |$)", "N", text, flags=re.MULTILINE)
    return re.sub(r"(?<=\S) +", " ", text).split("\n")


@NEEDS_TMUX
def test_the_screens_of_a_working_cluster(grid: Cluster, tmux: Tmux, held: Path) -> None:
    """Queues, running tasks, a task with its stack, a cancel, a dead letter and its retry, as a user sees them."""
    grid.master()
    grid.tasks(2).logs("executor_joined", times=2)
    with grid.client() as client:
        client.options(queue="mail").submit_named("tests.e2e.tasks:hold", [str(held), "done"])
        assert client.options(queue="bulk").submit_named("tests.e2e.tasks:divide", [1, 0]).exception(SOON_S)
        client.abandon()
    tmux.press(f"{sys.executable} -m distq top --every 100ms", "Enter")
    tmux.shows(r"queues +\d\d:\d\d:\d\d")
    tmux.press("s")  # by running tasks: the queue `mail` is first
    lines = tmux.shows(r"sort: running\n.*\nmail +0 +1 .*[▁█]")
    assert len(lines) == 24
    assert masked(lines[:6]) == SCREEN.splitlines()
    assert lines[-1] == "1-4 view  s sort  / filter  Enter its running tasks  ? keys  q quit"
    tmux.press("Enter")
    tmux.shows(r"sort: longest  filter: mail\ntask.*\n\S+ +\S*tasks:hold +mail")
    tmux.press("Enter")
    tmux.shows(r"tests.e2e.tasks:hold on the queue mail: leased\n.*\n.*submitted")
    tmux.press("t")
    tmux.shows(r"in hold\b")
    tmux.press("c")
    tmux.shows(r"^Cancel task \S+\? A running one is stopped\. \[y/N\]$")
    tmux.press("y")
    tmux.shows(r"1 cancelled\.")
    tmux.press("Escape")
    tmux.shows(r"There are no running tasks that match 'mail'\.")
    tmux.press("4")
    tmux.shows(r"sort: newest\ndied.*\n\d\d-\d\d \d\d:\d\d:\d\d \S+ +\S*tasks:divide +bulk +ZeroDivisionError")
    tmux.press("r")
    tmux.shows(r"Retry the dead letter \S+\? \[y/N\]")
    tmux.press("y")
    tmux.shows(r"1 will be retried\.")
    tmux.resize(100, 30)
    eventually(lambda: len(tmux.screen) == 30 and tmux.screen[-1].startswith("1-4 view"), "the new size")
    tmux.press("q")
    tmux.shows(r"^\$ .*distq top.*\n\$")


@NEEDS_TMUX
def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it(grid: Cluster, tmux: Tmux) -> None:
    """The shell can be used meanwhile; Ctrl-C ends it with 130."""
    grid.master()
    tmux.press(f"{sys.executable} -m distq top --every 100ms", "Enter")
    tmux.shows(r"1 queues")
    tmux.press("C-z")
    tmux.shows(r"Stopped|Suspended")
    tmux.press("stty -a | grep -o .icanon", "Enter")
    tmux.shows(r"^ icanon")
    tmux.press("fg", "Enter")
    tmux.shows(r"1 queues")
    tmux.press("C-c")
    tmux.shows(r"^\$ fg\n(?:[^$\n].*\n)+\$")  # until then `distq top` reads what is typed
    tmux.press("echo it ended with $?", "Enter")
    tmux.shows(r"it ended with 130$")


QUEUES = 9_900
"""Queues of the test below; with those of the standard library they stay below DISTQ_QUEUES_MAX."""
WIDE = "最初-gö"


def cells(text: str) -> int:
    """Return the number of cells that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


@NEEDS_TMUX
@pytest.mark.timeout(180)
def test_the_screens_of_many_queues_fit_every_terminal(grid: Cluster, tmux: Tmux) -> None:
    """Ten thousand queues, one of them with wide characters, at 80 by 24, 40 by 10 and 200 by 60, without colours.

    A master that starts again meanwhile is reached again, and even a terminal of one cell does not end it.
    """
    master = grid.master(DISTQ_STORE=f"sqlite:///{tmux.folder}/many.db")
    with grid.client() as client:
        for _ in "ab":
            client.submit_named("any:task", [], queue=WIDE)
        for number in range(QUEUES):
            client.submit_named("any:task", [], queue=f"queue-{number}")
        client.flush()
        client.abandon()
    tmux.press(f"NO_COLOR=1 {sys.executable} -m distq top --every 100ms", "Enter")
    for width, height in ((80, 24), (40, 10), (200, 60)):
        tmux.resize(width, height)
        rows = height - 7
        lines = tmux.shows(rf"{WIDE} +2 +0(?s:.*)1 to {rows} of 9,90\d\n1-4 view")
        assert len(lines) == height
        assert all(cells(line) <= width for line in lines)
        head, first, second = lines[4:7]
        assert first.startswith(WIDE)
        assert second.startswith("queue-")
        assert [cells(first[: first.index(" 2 ") + 2]), second.index(" 1 ") + 2] == [head.index("ready") + 5] * 2
    tmux.resize(1, 1)
    tmux.resize(80, 24)
    master.signal(signal.SIGTERM)
    assert master.ends() == 0
    tmux.shows(r"Connecting again\.")
    grid.master(DISTQ_STORE=f"sqlite:///{tmux.folder}/many.db")
    tmux.shows(rf"(?s)\Adistq top(?!.*Connecting).*{WIDE} +2 ")
    tmux.press("q")
    tmux.shows(r"^\$ .*distq top.*\n\$")
