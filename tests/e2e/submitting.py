"""Tasks that submit tasks."""

import functools
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e import handlers

import distq

client_of_process = functools.cache(distq.Client)
"""Returns one client for all tasks of an executor."""


@distq.task
def adds(number: int, addend: int) -> int:
    """Run as the inner task."""
    return number + addend


@distq.task(retries=0)
def submits(number: int) -> tuple[str | None, str]:
    """Submit a task, and return its id and the address of the client's settings."""
    client = client_of_process()
    future = client.submit(adds, number, 1)
    assert client.flush(10)
    return future.task_id, str(client._settings.address[0])


@distq.task(retries=0)
def waits(number: int) -> int:
    """Submit a task and wait for it."""
    with distq.Client() as client:
        return client.submit(adds, number, 1).result(15)


@distq.task
def holds(folder: str) -> None:
    """Occupy a slot until the folder contains a file `go`."""
    handlers.wait_for_go(folder)


@distq.task(retries=0)
def show_environment() -> tuple[str, str]:
    """Return the environment and arguments, and the open files, that a program started by a task can see."""
    client_of_process().submit(adds, 1, 1)
    program = "import os; print(sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))"
    own = [Path(f"/proc/{os.getpid()}/{name}").read_bytes().decode() for name in ("environ", "cmdline")]
    child = subprocess.run(
        [sys.executable, "-c", f"import os; print(dict(os.environ)); {program}"],
        check=True,
        capture_output=True,
        text=True,
        close_fds=False,
    )
    return "\n".join([*own, child.stdout.splitlines()[0]]), child.stdout.splitlines()[1]


@distq.task(retries=0)
def leaves_submits(address: str, key: str, count: int) -> str:
    """Submit tasks to another master, and return without waiting until it has accepted them."""
    client = client_of_process(address, key)
    for number in range(count):
        client.submit(adds, number, 1)
    return "settled"


@distq.task(retries=0, queue="crowded")
def follows(depth: int) -> int:
    """Submit the next task of a line into the queue of this one, and return without waiting."""
    if depth:
        client_of_process().submit(follows, depth - 1)
    return depth


@distq.task(retries=0)
def overfills(count: int) -> int:
    """Submit tasks into a queue that has no room for all of them, and return without waiting."""
    for _ in range(count):
        client_of_process().options(queue="crowded").submit(adds, 1, 1)
    return count
