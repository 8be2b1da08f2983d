"""A program whose functions and classes are its own; the test runs it as `__main__`."""

import asyncio
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import distq

FACTOR = 3


@dataclass
class Point:
    """A class of the program."""

    x: int

    def moved(self, by: int) -> "Point":
        """Return another point."""
        return Point(self.x + by)


class OutOfRange(Exception):
    """An error of the program."""


def times(number: int) -> int:
    """Use a global."""
    return FACTOR * number


def factorial(number: int) -> int:
    """Call itself."""
    return 1 if number < 2 else number * factorial(number - 1)


def moved(point: Point, by: int = 1) -> Point:
    """Take and return an instance of the program's class."""
    assert isinstance(point, Point)
    return point.moved(by)


def fails(number: int) -> None:
    """Raise the program's own error."""
    raise OutOfRange(number)


def adder(step: int) -> Any:
    """Return a closure."""

    def add(number: int) -> int:
        return number + step

    return add


def parts(count: int) -> Iterator[Point]:
    """Yield instances of the program's class."""
    for number in range(count):
        yield Point(number)


async def waits(number: int) -> int:
    """Await something."""
    await asyncio.sleep(0)
    return number + FACTOR


@distq.task(name="shaky", retries=2, retry_for=(OutOfRange,), queue="own", priority=7)
def shaky(until: int) -> int:
    """Fail until an attempt."""
    attempt = distq.current().attempt
    if attempt < until:
        raise OutOfRange(attempt)
    return attempt


def main() -> None:
    """Run each kind of function, and print `ok` at the end."""
    with distq.Client(by_value=True) as client:
        assert client.submit(times, 2).result(30) == 6
        globals()["FACTOR"] = 5
        assert client.submit(times, 2).result(30) == 10, "the globals are those of the submit"
        exec("def times(number): return -number", globals())
        assert client.submit(times, 2).result(30) == -2, "a cell that redefines a function"
        assert client.submit(factorial, 5).result(30) == 120
        point = client.submit(moved, Point(1), by=2).result(30)
        assert point == Point(3), point
        assert type(point) is Point
        assert client.submit(adder(10), 1).result(30) == 11
        assert client.submit(functools.partial(adder(10)), 2).result(30) == 12
        assert client.submit(Point(4).moved, 1).result(30) == Point(5)
        assert client.submit(functools.reduce, lambda one, other: one + other, [1, 2, 3]).result(30) == 6
        assert client.submit(functools.partial, moved, by=2).result(30)(Point(1)) == Point(3)
        assert list(client.map(functools.reduce, [lambda one, other: one + other], [[1, 2]], chunksize=2)) == [3]
        assert client.submit(lambda: Point).result(30) is Point
        assert list(client.map(lambda n: n + 1, range(10), chunksize=4)) == list(range(1, 11))
        assert list(client.map(lambda p: p.moved(1), map(Point, range(3)), chunksize=2)) == [
            Point(1),
            Point(2),
            Point(3),
        ]
        assert [part.x for part in client.submit(parts, 3).stream()] == [0, 1, 2]
        awaited: distq.TaskFuture[Any] = client.submit(waits, 1)
        assert awaited.result(30) == 1 + FACTOR
        chained = client.chain(distq.call(adder(1), 1), [distq.call(moved_by), distq.call(adder(2))])
        assert chained.result(30) == [Point(2), 4]
        assert client.submit(map_with, lambda n: n * n, [1, 2, 3]).result(30) == [1, 4, 9]
        error = client.submit(fails, 7).exception(30)
        assert type(error) is OutOfRange, error
        assert error.args == (7,)
        assert "in fails" in str(error.__cause__)
        assert client.submit(shaky, 2).result(30) == 2, "its options hold: it was retried"
        try:
            client.submit(lambda: lock)
        except distq.NotPicklable as error:
            print(error)
        try:
            client.submit(lambda: large)
        except distq.PayloadTooLarge as error:
            print(error)
        try:
            client.options(every=60).schedule("nightly", times, 1)
        except distq.NotATask as error:
            print(error)
    print("ok")


def moved_by(number: int) -> Point:
    """Return the program's class from a stage of a chain."""
    return Point(number)


def map_with(function: Any, numbers: list[int]) -> list[int]:
    """Take a function as an argument."""
    return list(map(function, numbers))


lock = threading.Lock()
large = bytes(20 << 20)

if __name__ == "__main__":
    main()
