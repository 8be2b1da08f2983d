"""The tasks of the tests of signed and encrypted payloads."""

from collections.abc import Iterator
from pathlib import Path

import distq


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)


@distq.task(name="double")
def double(n: int) -> int:
    """Return twice a number."""
    return 2 * n


def touch(path: str) -> str:
    """Create a file, and return its path."""
    Path(path).touch()
    return path


def add_all(numbers: list[int], more: int = 0) -> int:
    """Return a sum."""
    return sum(numbers) + more


@distq.task(retries=0)
def fail(text: str) -> None:
    """Raise an exception with that text."""
    raise LookupError(text)


def seen(result: object, marker: str) -> str:
    """Return what came of a dependency, in words."""
    return f"{marker}: {type(result).__name__} {result}"


def count(n: int) -> Iterator[int]:
    """Yield numbers."""
    yield from range(n)


@distq.task(retries=3)
def resume() -> list[int]:
    """Save a cursor, fail, and go on from the cursor in the second attempt."""
    run = distq.current()
    if run.cursor is None:
        run.checkpoint([1, 2, 3])
        raise ConnectionError("try again")
    cursor: list[int] = run.cursor
    return cursor


def grown(body: bytes) -> int:
    """Return the size of a body."""
    return len(body)


def nested(n: int) -> int:
    """Submit a task and return its result."""
    with distq.Client() as client:
        return client.submit(double, n).result(30)


def tenant() -> str:
    """Return a header of the task."""
    return distq.current().headers.get("tenant", "")


def reports(text: str) -> str:
    """Report progress, and return the text."""
    distq.current().progress(0.5, "half of it")
    return text.upper()


def reports_and_fails(text: str) -> None:
    """Report progress, and raise the text."""
    distq.current().progress(0.5, "half of it")
    raise LookupError(text)


def reports_and_streams(text: str) -> Iterator[str]:
    """Report progress before each of three parts."""
    for number in range(3):
        distq.current().progress(number / 3)
        yield text.upper()


def discards(text: str) -> None:
    """Discard the task for this reason."""
    raise distq.Discard(text)
