"""Runs a worker in development: starts it again when a source file of the project changes."""

from __future__ import annotations

import select
import signal
import site
import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.utils.autoreload import StatReloader, autoreload_started

from distq.net.stop_signals import stop_signals
from distq.worker.child_command import child_command
from distq.worker.executor.shutdown import ShutdownFlag

LOOK_S: Final = 1.0
"""Seconds between two looks at the files, as with the command runserver."""
END_POLL_S: Final = 0.05
"""Seconds between two looks at a worker that ends."""


def run_and_reload(arguments: Sequence[str], environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Run `distq ARGUMENTS`, again after each change, until a signal ends it; returns its exit code."""
    return _Development(arguments, environ, say).run()


class _Development:
    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._arguments, self._environ, self._say = arguments, environ, say
        self._stop = ShutdownFlag()
        self._worker: subprocess.Popen[bytes] | None = None
        self._files: dict[Path, float] = {}
        self._reloader = StatReloader()
        for config in apps.get_app_configs():
            if not _is_installed(config.path):
                self._reloader.watch_dir(config.path, "**/*.py")
        autoreload_started.send(sender=self._reloader)  # apps add the files that they read: templates, translations

    def run(self) -> int:
        for number in stop_signals():
            signal.signal(number, self._end)
        self._changed()  # notes the present times
        while True:
            with child_command(self._arguments, self._environ) as worker:
                self._worker = worker
            self._say("The worker starts again when a source file changes; Ctrl-C ends it.")
            path = self._wait_for_change(worker)
            if path is None:
                return _waited(worker)
            self._say(f"{path} has changed: the worker starts again.")
            if worker.poll() is None:
                worker.terminate()
            _waited(worker)
            if self._stop.is_set:
                return worker.returncode

    def _end(self, number: int, _frame: Any) -> None:
        """Pass a signal on: the worker has a process group of its own, which Ctrl-C does not reach."""
        self._stop.set()
        if self._worker is not None:
            with suppress(ProcessLookupError):
                self._worker.send_signal(number)

    def _wait_for_change(self, worker: subprocess.Popen[bytes]) -> Path | None:
        """The file that has changed; None if a signal has arrived, or the worker has ended without an error."""
        has_failed = False
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        while not self._stop.is_set:
            if not has_failed and worker.poll() is not None:
                if worker.returncode == 0:
                    return None
                has_failed = True
                self._say(f"The worker has ended with {worker.returncode}: it starts again when a source file changes.")
            if (path := self._changed()) is not None:
                return path
            poll.poll(LOOK_S * 1000)
        return None

    def _changed(self) -> Path | None:
        """A file that has changed since the last look; a file that is new is only noted."""
        found = None
        for path, changed_at in self._reloader.snapshot_files():
            if changed_at > self._files.setdefault(path, changed_at):
                self._files[path], found = changed_at, path
        return found


def _waited(worker: subprocess.Popen[bytes]) -> int:
    """The exit code of a worker that ends; a signal may be handled meanwhile."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return worker.wait(END_POLL_S)


def _is_installed(path: str) -> bool:
    """Whether a folder belongs to an installed package."""
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return any(Path(path).is_relative_to(folder) for folder in installed)
