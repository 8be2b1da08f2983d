"""The results of `client.map` in the order of its calls; a `buffersize` limits the tasks without a yielded result."""

from __future__ import annotations

import itertools
import operator
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.future import cancel_all
from distq.core.ranges import shown

if TYPE_CHECKING:
    from distq.client.future import TaskFuture

R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


def at_least_one(name: str, size: Any) -> int:
    """A size that a program passes to `map`; raises TypeError if it is no whole number, ValueError if it is below 1."""
    try:
        whole = operator.index(size)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {shown(size)}") from None
    if whole < 1:
        raise ValueError(f"{name} is at least 1, not {whole}")
    return whole


def in_order(submits: Iterator[TaskFuture[R]], buffersize: int | None, deadline: float | None) -> Iterator[R]:
    """Take the first `buffersize` futures now (None: all), and return an iterator of the results in their order.

    The iterator takes a further future, which submits its task, before it yields a result. It cancels the tasks of the
    futures that are left when it ends early.
    """
    futures = deque(itertools.islice(submits, buffersize))
    # `zip` keeps its last arguments alive: an iterator that needs no more of them must not keep it.
    return _results(futures, iter(()) if buffersize is None else submits, deadline)


def _results(futures: deque[TaskFuture[R]], submits: Iterator[TaskFuture[R]], deadline: float | None) -> Iterator[R]:
    try:
        while futures:
            # The future is popped, and no name holds it or its result meanwhile: the program can free the result.
            ended = [futures.popleft().result(None if deadline is None else max(deadline - _now(), 0.0))]
            futures.extend(itertools.islice(submits, 1))
            yield ended.pop()
    finally:
        cancel_all(futures)


def one_by_one(chunks: Iterator[list[R]]) -> Iterator[R]:
    """The results of chunks of calls; each is released when it is yielded."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
