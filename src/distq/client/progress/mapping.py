"""The bar of `client.map(..., progress=True)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, TypeVar

from distq.client.progress.drawing import drawn
from distq.client.progress.places import place_here
from distq.client.progress.tally import AnyFuture, Tally
from distq.client.progress.waiting import short_name

F = TypeVar("F", bound=AnyFuture)


class MapBar:
    """Counts the calls of a `map` and their futures, while the block of `bar` is open."""

    def __init__(self, name: str, iterables: Sequence[object], label: bool | str) -> None:
        self.tally = Tally(length_of(iterables))
        self.bar = drawn(label if isinstance(label, str) else short_name(name), self.tally, place_here())
        self._taken = 0
        """Rows of arguments that were taken; a chunk of calls takes several."""

    def rows(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The same rows, counted."""
        for row in rows:
            self._taken += 1
            yield row
            del row  # the program can free the arguments

    def futures(self, submits: Iterator[F]) -> Iterator[F]:
        """The same futures, each counted with the rows that were taken for it."""
        before = 0
        for future in submits:
            self.tally.add(future, self._taken - before)
            before = self._taken
            yield future
            del future  # the program can free the result
        self.tally.complete()


def length_of(iterables: Sequence[object]) -> int | None:
    """The number of rows that iterables give together; None if that is not known before they end."""
    return min((len(one) for one in iterables if isinstance(one, Sized)), default=None)
