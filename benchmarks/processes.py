"""Masters, workers and standard-library servers for the benchmarks, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, NamedTuple

from distq.demo.cluster import free_port

AUTHKEY = "a-key-for-benchmarks-only"
ROOT = Path(__file__).parent.parent
START_S = 120.0
"""Maximum seconds until a server listens; under callgrind a master needs about ten."""


class Running(NamedTuple):
    """A running server: its addresses and process id."""

    address: tuple[str, int]
    http: tuple[str, int] | None
    pid: int


class Recipe(BaseManager):
    """The manager class of a standard-library client."""


Recipe.register("get_work_queue")
Recipe.register("get_result_queue")


class RecipeServer(BaseManager):
    """The manager class of a standard-library server."""


def connect(address: tuple[str, int]) -> tuple[Any, Any]:
    """Connect a standard-library client, and return its work queue and its result queue."""
    manager = Recipe(address=address, authkey=AUTHKEY.encode())
    manager.connect()
    return manager.get_work_queue(), manager.get_result_queue()  # type: ignore[attr-defined] # registered


def serve_recipe(port: int) -> None:
    """Run a standard-library server without end."""
    work: queue.Queue[object] = queue.Queue()
    result: queue.Queue[object] = queue.Queue()
    RecipeServer.register("get_work_queue", callable=lambda: work)
    RecipeServer.register("get_result_queue", callable=lambda: result)
    RecipeServer(("127.0.0.1", port), AUTHKEY.encode()).get_server().serve_forever()


def work_recipe(port: int) -> None:
    """Run a standard-library worker until its server ends."""
    work, result = connect(("127.0.0.1", port))
    try:
        while True:
            n = work.get()
            result.put(n * n)
    except (EOFError, OSError):
        pass


@contextlib.contextmanager
def process(*command: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python process with these arguments, and terminate it at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTQ_")}
    child = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def wait_until_listening(address: tuple[str, int]) -> None:
    """Wait until a server listens at the address. Raises TimeoutError."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no server listens at {address} after {START_S} s")


@contextlib.contextmanager
def stdlib_server() -> Iterator[Running]:
    """Run a standard-library server."""
    port = free_port()
    with process("-c", f"from benchmarks.processes import serve_recipe; serve_recipe({port})") as child:
        wait_until_listening(("127.0.0.1", port))
        yield Running(("127.0.0.1", port), None, child.pid)


@contextlib.contextmanager
def master(**environ: str) -> Iterator[Running]:
    """Run `distq master` with default settings and a store in memory."""
    port, http_port = free_port(), free_port()
    environ = {
        "DISTQ_AUTHKEY": AUTHKEY,
        "DISTQ_BIND": f"127.0.0.1:{port}",
        "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
        "DISTQ_STORE": "memory:",
        **environ,
    }
    with process("-m", "distq", "master", **environ) as child:
        wait_until_listening(("127.0.0.1", port))
        yield Running(("127.0.0.1", port), ("127.0.0.1", http_port), child.pid)


@contextlib.contextmanager
def worker(to: Running, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `distq worker` with two executors."""
    address = f"{to.address[0]}:{to.address[1]}"
    with process(
        "-m", "distq", "worker", "--concurrency", "2", *arguments, DISTQ_ADDRESS=address, DISTQ_AUTHKEY=AUTHKEY
    ) as child:
        yield child


@contextlib.contextmanager
def recipe_workers(to: Running) -> Iterator[None]:
    """Run two standard-library workers."""
    code = f"from benchmarks.processes import work_recipe; work_recipe({to.address[1]})"
    with process("-c", code), process("-c", code):
        yield
