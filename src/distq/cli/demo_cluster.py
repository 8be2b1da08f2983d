"""The demo's master and workers: processes of their own that never outlive the demo.

Each has its own process group, so Ctrl-C in the terminal reaches the demo alone, which then ends them in good
order. If the demo itself is killed, the kernel kills them.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TypeVar

from distq.core.errors import DistqError
from distq.net.stop_signals import STOP_SIGNALS
from distq.settings import Address
from distq.worker.executor.parent_death import die_with_parent

HOST: Final = "127.0.0.1"
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Ports that no system gives to those who ask for any."""
WAIT_S: Final = 15.0
LOOK_S: Final = 0.02
STOP_S: Final = 5.0

Fact = TypeVar("Fact")


class DemoFailed(DistqError):
    """The demo could not be shown."""

    code = "DEMO_FAILED"
    hint = "What master and workers have said stands above."


class Cluster:
    """A master and workers on this machine, with a key and ports that nobody else knows."""

    def __init__(self) -> None:
        self.address = Address(HOST, free_port())
        self.http_address = Address(HOST, free_port())
        self.authkey = secrets.token_urlsafe(32)
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *arguments: str, **settings: str) -> None:
        """Run a distq command as `name`."""
        environ = {key: text for key, text in os.environ.items() if not key.startswith("DISTQ_")}
        environ |= {
            "DISTQ_ADDRESS": str(self.address),
            "DISTQ_AUTHKEY": self.authkey,
            "DISTQ_LOG_LEVEL": "warning",
            **settings,
        }
        # No signal is heard between the start of a process and the note that it must be stopped.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            process = subprocess.Popen(  # noqa: S603 - this Python, and arguments of the demo's own
                [sys.executable, "-m", "distq", *arguments],
                env=environ,
                cwd="/",  # a .env in the present folder is not meant for them
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_bind(os.getpid()),  # noqa: PLW1509 - the demo has no threads yet
            )
            self._running.append((name, process))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_for(self, fact: Callable[[], Fact | None], what: str) -> Fact:
        """The first answer of `fact` that is not None.

        Raises:
            DemoFailed: a process has ended meanwhile, or `what` is not there in time.
        """
        for _ in range(int(WAIT_S / LOOK_S)):
            self.check()
            found = fact()
            if found is not None:
                return found
            time.sleep(LOOK_S)
        raise DemoFailed(f"There was no {what} within {WAIT_S:g} s.")

    def check(self) -> None:
        """Raise DemoFailed if a process has ended."""
        for name, process in self._running:
            code = process.poll()
            if code is not None:
                raise DemoFailed(f"The {name} ended with exit code {code}.")

    def stop(self) -> Mapping[str, int]:
        """End all processes, the last started first; returns their exit codes by name."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # this ends soon in any case, and must not end halfway
        workers = [process for name, process in self._running if name != "master"]
        masters = [process for name, process in self._running if name == "master"]
        for group in (workers, masters):
            for process in group:
                process.terminate()
            for process in group:
                _end(process)
        return {name: process.returncode for name, process in self._running}


def free_port() -> int:
    """A port of this machine on which nobody listens, and which the system gives to nobody who asks for any."""
    for port in secrets.SystemRandom().sample(BELOW_EPHEMERAL, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise DemoFailed(f"No port of {HOST} is free between {BELOW_EPHEMERAL.start} and {BELOW_EPHEMERAL.stop}.")


def _bind(parent_pid: int) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        die_with_parent(parent_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    return between_fork_and_exec


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
