"""The results of `client.map` in the order of its calls; a `buffersize` limits the tasks without a yielded result."""

from __future__ import annotations

import itertools
import operator
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.future import cancel_all
from distq.core.plurals import counted
from distq.core.ranges import shown

if TYPE_CHECKING:
    from distq.client.future import TaskFuture

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


class MapResults(Iterator[R]):
    """The results of `client.map`, in the order of its calls."""

    def __init__(
        self,
        name: str,
        submits: Iterator[TaskFuture[Any]],
        bar: AbstractContextManager[None],
        buffersize: int | None,
        deadline: float | None,
        chunksize: int,
    ) -> None:
        """Take the first `buffersize` futures now (None: all); a further one, which submits its task, for each result.

        When the iteration ends early, the tasks of the futures that are left are cancelled.
        """
        self._name = name
        self._futures: deque[TaskFuture[Any]] = deque()
        """The futures whose results were not yielded."""
        self._yielded = 0
        self._results = _beside(bar, self._futures, submits, buffersize, deadline, chunksize)
        next(self._results)  # submits, and opens the bar, which is closed with the iterator from here on

    def __iter__(self) -> MapResults[R]:
        """Iterate over this object."""
        return self

    def __next__(self) -> R:
        """Wait for the next result."""
        result = next(self._results)
        self._yielded += 1
        return result  # type: ignore[return-value] # all but the first are results

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
        left = list(self._futures)
        ended = sum(future.has_ended for future in left)
        return f"{counted(self._yielded, 'result')} yielded, {counted(len(left), 'task')} left, {ended:,} of them ended"


def _beside(
    bar: AbstractContextManager[None],
    futures: deque[TaskFuture[Any]],
    submits: Iterator[TaskFuture[Any]],
    buffersize: int | None,
    deadline: float | None,
    chunksize: int,
) -> Generator[R | None, None, None]:
    """Yield None when the first tasks are submitted, then the results, while the bar is open."""
    with bar:
        futures.extend(itertools.islice(submits, buffersize))
        results = _results(futures, iter(()) if buffersize is None else submits, deadline)
        del submits  # `zip` keeps its last arguments alive: an iterator that needs no more of them must not keep it
        yield None
        yield from results if chunksize == 1 else one_by_one(results)


def _results(futures: deque[TaskFuture[R]], submits: Iterator[TaskFuture[R]], deadline: float | None) -> Iterator[R]:
    try:
        while futures:
            ended = [futures[0].result(None if deadline is None else max(deadline - _now(), 0.0))]
            futures.popleft()  # from here on no name holds the future or its result: the program can free the result
            futures.extend(itertools.islice(submits, 1))
            yield ended.pop()
    finally:
        cancel_all(futures)  # also the one whose result has not come before the deadline
        futures.clear()  # the traceback of its exception has this frame, which must not keep the future


def one_by_one(chunks: Iterator[list[R]]) -> Iterator[R]:
    """The results of chunks of calls; each is released when it is yielded."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
