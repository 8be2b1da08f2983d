"""Starts the demo's master and workers, checks that they run, and stops them.

Each process has its own process group: Ctrl-C in the terminal reaches the demo alone, which then stops the processes
in order. If the demo is killed, the kernel kills them.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from distq.core.errors import DistqError
from distq.net.stop_request import StopRequest
from distq.net.stop_signals import STOP_SIGNALS
from distq.settings import Address
from distq.worker.child_command import child_command

HOST: Final = "127.0.0.1"
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Ports outside the range from which Linux assigns ports to clients."""
_returned_ports: set[int] = set()
"""Ports that `free_port` has returned: their programs may not listen yet."""
WAIT_S: Final = 15.0
"""Maximum wait for a fact, such as a worker's connection."""
CHECK_S: Final = 0.02
"""Pause between two checks of a fact."""
STOP_S: Final = 5.0
"""Time that a process has to end after SIGTERM; then it is killed."""

Fact = TypeVar("Fact")


class DemoFailed(DistqError):
    """The demo could not run to its end."""

    code = "DEMO_FAILED"
    hint = "The messages of the master and the workers are above."


class DemoCluster:
    """A master and workers on this machine, with a new key and two free ports."""

    def __init__(self) -> None:
        self.address = Address(HOST, free_port())
        self.http_address = Address(HOST, free_port())
        self.authkey = secrets.token_urlsafe(32)
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.stop_request = StopRequest()

    def start(self, name: str, *arguments: str, **settings: str) -> None:
        """Start a distq command; messages call its process `name`."""
        environ = {key: text for key, text in os.environ.items() if not key.startswith("DISTQ_")}
        environ |= {
            "DISTQ_ADDRESS": str(self.address),
            "DISTQ_AUTHKEY": self.authkey,
            "DISTQ_LOG_LEVEL": "warning",
            **settings,
        }
        # Another folder than the present one, whose .env is not meant for these processes.
        with child_command(arguments, environ, folder=Path("/")) as process:
            self._running.append((name, process))

    def wait_for(self, fact: Callable[[], Fact | None], what: str) -> Fact:
        """Call `fact` until it returns something else than None, and return that.

        Raises:
            DemoFailed: a process ended, or `fact` returned None for WAIT_S.
        """
        for _ in range(int(WAIT_S / CHECK_S)):
            self.check()
            found = fact()
            if found is not None:
                return found
            time.sleep(CHECK_S)
        raise DemoFailed(f"There was no {what} within {WAIT_S:g} s.")

    def check(self) -> None:
        """Raise DemoFailed if a process has ended; KeyboardInterrupt or SystemExit after a signal."""
        self.stop_request.check()
        for name, process in self._running:
            code = process.poll()
            if code is not None:
                raise DemoFailed(f"The {name} ended with exit code {code}.")

    def stop(self) -> Mapping[str, int]:
        """Stop the workers, then the master; returns the exit codes by name."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second signal must not leave a process behind
        workers = [process for name, process in self._running if name != "master"]
        masters = [process for name, process in self._running if name == "master"]
        for group in (workers, masters):
            for process in group:
                process.terminate()
            for process in group:
                _end(process)
        return {name: process.returncode for name, process in self._running}


def free_port(ports: range = BELOW_EPHEMERAL) -> int:
    """Return one of `ports` on which no program listens, and which no earlier call in this process returned.

    Raises:
        DemoFailed: a hundred ports drawn by lot are all in use.
    """
    for port in secrets.SystemRandom().sample(ports, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in _returned_ports:
                _returned_ports.add(port)
                return port
    raise DemoFailed(f"No port of {HOST} is free between {ports.start} and {ports.stop}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
