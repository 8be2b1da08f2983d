"""The results of `client.map` in the order of its calls; a `buffersize` limits the tasks without a yielded result."""

from __future__ import annotations

import itertools
import operator
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from distq.client.future import cancel_all
from distq.core.plurals import counted
from distq.core.ranges import shown

if TYPE_CHECKING:
    from distq.client.future import TaskFuture

    _Iterator = itertools.islice[Any]
else:
    _Iterator = itertools.islice

R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


def at_least_one(name: str, size: Any) -> int:
    """A size that a program passes to `map`; raises TypeError if it is no whole number, ValueError if it is below 1.

    A size above the maximum of `itertools` means all, as that maximum does.
    """
    try:
        whole = operator.index(size)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {shown(size)}") from None
    if whole < 1:
        raise ValueError(f"{name} is at least 1, not {shown(whole)}")
    return min(whole, sys.maxsize)


class _Left:
    """What the iteration over a map has not yielded."""

    def __init__(self) -> None:
        self.futures: deque[TaskFuture[Any]] = deque()
        """The futures whose results were not taken."""
        self.taken = 0
        """Number of the results of the other futures."""
        self.chunk: list[Any] = []
        """Results of a chunk that were taken, but not yielded."""


class MapResults(_Iterator):
    """The results of `client.map`, in the order of its calls.

    An iterator of `itertools`, because a method in Python takes as long as all else for a call in a chunk.
    """

    _left: _Left
    _name: str
    _results: Generator[Any, None, None]

    def __new__(
        cls,
        name: str,
        submits: Iterator[TaskFuture[Any]],
        bar: AbstractContextManager[None],
        buffersize: int | None,
        deadline: float | None,
        chunksize: int,
    ) -> Self:
        """Take the first `buffersize` futures now (None: all); a further one, which submits its task, for each result.

        When the iteration ends early, the tasks of the futures that are left are cancelled.
        """
        left = _Left()
        results = _beside(bar, left, submits, buffersize, deadline, chunksize)
        next(results)  # submits, and opens the bar, which is closed with the iterator from here on
        made = super().__new__(cls, results, None)
        made._left, made._name, made._results = left, name, results
        return made

    def close(self) -> None:
        """End the iteration, and cancel the tasks that are left unless they run."""
        self._results.close()

    def __repr__(self) -> str:
        """The function's name, and how far the iteration and the tasks are."""
        return f"<{type(self).__name__} {self._name}: {self._stage()}>"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        import html  # noqa: PLC0415 - a client's start would take 10 ms longer

        return f"<code>{type(self).__name__}</code> <b>{html.escape(self._name)}</b> {self._stage()}"

    def _stage(self) -> str:
        futures = list(self._left.futures)
        yielded = self._left.taken - len(self._left.chunk)
        ended = sum(future.has_ended for future in futures)
        return f"{counted(yielded, 'result')} yielded, {counted(len(futures), 'task')} left, {ended:,} of them ended"


def _beside(
    bar: AbstractContextManager[None],
    left: _Left,
    submits: Iterator[TaskFuture[Any]],
    buffersize: int | None,
    deadline: float | None,
    chunksize: int,
) -> Generator[Any, None, None]:
    """Yield None when the first tasks are submitted, then the results, while the bar is open."""
    with bar:
        left.futures.extend(itertools.islice(submits, buffersize))
        results = _results(left, iter(()) if buffersize is None else submits, deadline)
        del submits  # `zip` keeps its last arguments alive: an iterator that needs no more of them must not keep it
        yield None
        yield from results if chunksize == 1 else _one_by_one(left, results)


def _results(left: _Left, submits: Iterator[TaskFuture[Any]], deadline: float | None) -> Iterator[Any]:
    futures = left.futures
    try:
        while futures:
            ended = [futures[0].result(None if deadline is None else max(deadline - _now(), 0.0))]
            futures.popleft()  # from here on no name holds the future or its result: the program can free the result
            futures.extend(itertools.islice(submits, 1))
            left.taken += 1
            yield ended.pop()
    finally:
        cancel_all(futures)  # also the one whose result has not come before the deadline
        futures.clear()  # the traceback of its exception has this frame, which must not keep the future


def _one_by_one(left: _Left, chunks: Iterator[list[R]]) -> Iterator[R]:
    """The results of chunks of calls; each is released when it is yielded."""
    for chunk in chunks:
        left.taken += len(chunk) - 1  # it counts as one already
        left.chunk = chunk
        chunk.reverse()
        while chunk:
            yield chunk.pop()
