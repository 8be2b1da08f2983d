"""Starts and stops the processes of `distq up`, and prints their lines with the name of the process."""

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
    """One process, and the thread that prints its lines."""

    def __init__(self, name: str, number: int, process: "subprocess.Popen[bytes]", width: int) -> None:
        self.name = name
        self.process = process
        self._prefix = click.style(f"{name:<{width}} | ", fg=COLOURS[number % len(COLOURS)])
        assert process.stdout is not None
        self._output: IO[bytes] = process.stdout
        self._thread = threading.Thread(target=self._print_lines, name=f"output-of-{name}", daemon=True)
        self._thread.start()

    def end(self, wait_s: float) -> int:
        """Wait for the process to end, kill it after `wait_s`, and return its exit code."""
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join(1.0)
        return self.process.returncode

    def _print_lines(self) -> None:
        with self._output:
            for line in self._output:
                # The terminal may have closed; the process continues to write until it ends.
                with suppress(OSError):
                    click.echo(self._prefix + line.decode(errors="replace").rstrip("\n"))


class Family:
    """Processes of distq that are stopped together."""

    def __init__(self, settings: Mapping[str, str], width: int) -> None:
        self.members: dict[str, Member] = {}
        self._settings = settings
        self._width = width
        self._started = 0

    def start(self, name: str, arguments: Sequence[str], **settings: str) -> None:
        """Start a distq command; its lines get the prefix `name`."""
        environ = {"DISTQ_LOG_FORMAT": "console", **os.environ, **self._settings, **settings}
        with child_command(arguments, environ, output=subprocess.PIPE) as process:
            self.members[name] = Member(name, self._started, process, self._width)
            self._started += 1

    def ended(self) -> tuple[str, int] | None:
        """Return the name and exit code of a process that has ended, None without one."""
        for name, member in self.members.items():
            code = member.process.poll()
            if code is not None:
                return name, code
        return None

    def end(self, names: Sequence[str], wait_s: float) -> list[int]:
        """Stop some of the processes together; return their exit codes."""
        for name in names:
            self.members[name].process.terminate()
        codes = []
        for name in names:
            codes.append(self.members[name].end(wait_s))
            del self.members[name]  # only now: if a signal ends this wait, the process must be stopped again
        return codes
