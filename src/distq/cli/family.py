"""The processes of `distq up`: each line that they say gets its speaker's name, and none of them is left behind."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

import click

from distq.worker.child_command import child_command

COLOURS: Final = ("cyan", "green", "yellow", "magenta", "blue")


class Member:
    """One process, and the thread that passes on what it says."""

    def __init__(self, name: str, number: int, process: "subprocess.Popen[bytes]", width: int) -> None:
        self.name = name
        self.process = process
        self._prefix = click.style(f"{name:<{width}} | ", fg=COLOURS[number % len(COLOURS)])
        assert process.stdout is not None
        self._said: IO[bytes] = process.stdout
        self._thread = threading.Thread(target=self._pass_on, name=f"said-by-{name}", daemon=True)
        self._thread.start()

    def end(self, wait_s: float) -> int:
        """Wait for its end, which was asked for; kill it when the time is over. Returns its exit code."""
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join(1.0)
        return self.process.returncode

    def _pass_on(self) -> None:
        with self._said:
            for line in self._said:
                # The terminal may have closed; the process still writes, and ends in good order.
                with suppress(OSError):
                    click.echo(self._prefix + line.decode(errors="replace").rstrip("\n"))


class Family:
    """Processes of distq that end together."""

    def __init__(self, settings: Mapping[str, str], width: int) -> None:
        self.members: dict[str, Member] = {}
        self._settings = settings
        self._width = width
        self._born = 0

    def start(self, name: str, arguments: Sequence[str], **settings: str) -> None:
        """Run a distq command as `name`."""
        environ = {"DISTQ_LOG_FORMAT": "console", **os.environ, **self._settings, **settings}
        with child_command(arguments, environ, output=subprocess.PIPE) as process:
            self.members[name] = Member(name, self._born, process, self._width)
            self._born += 1

    def ended(self) -> tuple[str, int] | None:
        """One that has ended by itself, and its exit code."""
        for name, member in self.members.items():
            code = member.process.poll()
            if code is not None:
                return name, code
        return None

    def end(self, names: Sequence[str], wait_s: float) -> list[int]:
        """End some of them in good order, all at once; returns their exit codes."""
        for name in names:
            self.members[name].process.terminate()
        codes = []
        for name in names:
            codes.append(self.members[name].end(wait_s))
            del self.members[name]  # not before: a signal may end this wait, and then it must be ended again
        return codes
