"""Tasks that the tests of `distq.testing` submit."""

import asyncio
import os
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import distq


@distq.task(retries=3)
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@distq.task(name="fails", retries=2)
def fail(text: str) -> None:
    """Raise ValueError."""
    raise ValueError(text)


@distq.task(every="1h", name="hourly")
def hourly() -> None:
    """A task with a schedule of its own."""


def process_id() -> int:
    """Return the id of the process that runs this task."""
    return os.getpid()


def descend(depth: int) -> int:
    """Submit a task that does the same, `depth` times inside each other, and return how many have run."""
    return 0 if depth == 0 else distq.Client().submit(descend, depth - 1).result() + 1


@distq.task(retries=3)
def descend_with_retries(depth: int) -> int:
    """As `descend`; each task would be retried."""
    return 0 if depth == 0 else distq.Client().submit(descend_with_retries, depth - 1).result() + 1


def album(paths: list[str]) -> int:
    """Submit a task for each path, and wait for none of them."""
    client = distq.Client()
    for path in paths:
        client.submit(resize, path)
    client.flush()
    return len(paths)


def resize(path: str) -> str:
    """Return the path in capitals."""
    return path.upper()


def wait_for_end_of(pipe: Path) -> int:
    """Begin, and end when the test opens the pipe for writing; return the number of the attempt."""
    with pipe.open():
        return distq.current().attempt


@distq.task(retries=3)
def succeed_at_third(counter: Path) -> int:
    """Fail twice, then return the number of attempts; the file has one byte for each."""
    with counter.open("ab") as file:
        file.write(b".")
    attempts = counter.stat().st_size
    if attempts < 3:
        raise OSError("not yet")
    return attempts


@distq.task(retries=3)
def ask_for_retry(counter: Path) -> int:
    """Ask once for another attempt in an hour."""
    if not counter.exists():
        counter.touch()
        raise distq.Retry(after=3600)
    return distq.current().attempt


def parts(count: int) -> Iterator[int]:
    """Yield numbers."""
    yield from range(count)


class Odd(Exception):
    """An exception with an attribute."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def only_even(number: int) -> int:
    """Raise Odd for an odd number."""
    if number % 2:
        raise Odd(number)
    return number


def thread_id() -> int:
    """Return the number of the thread that runs this task."""
    return threading.get_ident()


def append_to(numbers: list[int]) -> list[int]:
    """Change the argument."""
    numbers.append(2)
    return numbers


def leave() -> None:
    """Raise SystemExit."""
    sys.exit(3)


def interrupt() -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


def snooze() -> None:
    """Never end."""
    raise distq.Snooze(60)


def name_of_task() -> str:
    """Return the name of this function, from `distq.current()`."""
    return distq.current().name.rpartition(":")[2]


def nested_names() -> list[str]:
    """Return the names before, in and after a task inside this one."""
    return [name_of_task(), distq.Client().submit(name_of_task).result(), name_of_task()]


async def name_of_coroutine() -> str:
    """Return the name of this task after a pass of the loop."""
    await asyncio.sleep(0)
    return name_of_task()


MODEL_EVENTS: list[str] = []
"""What the hook `model` has done in this process."""


@distq.lifespan
def model() -> Generator[str, None, None]:
    """A value that tasks get."""
    MODEL_EVENTS.append("up")
    yield f"up {len(MODEL_EVENTS)}"
    MODEL_EVENTS.append("down")


@distq.task
def injected_value(value: str = distq.injected(model)) -> str:
    """Return what the hook has yielded."""
    return value


STARTED, GATE = threading.Event(), threading.Event()
"""Set by `wait_at_gate`, and awaited by it, in a test whose tasks run in its own process."""


def wait_at_gate() -> int:
    """Wait until the test opens the gate."""
    STARTED.set()
    assert GATE.wait(60)
    return threading.get_ident()
