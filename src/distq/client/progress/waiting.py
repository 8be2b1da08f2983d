"""`distq.progress`: waits for futures, and shows how far their tasks are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Final, TypeVar

from distq.client.future import TaskFuture
from distq.client.future_state import FutureState
from distq.client.progress.drawing import drawn
from distq.client.progress.places import place_here
from distq.client.progress.tally import REPORTS_MAX, AnyFuture, Tally, has_ended
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.core.ranges import shown
from distq.tasks.current import Progress

F = TypeVar("F", bound=Future[Any])
G = TypeVar("G", bound=AnyFuture)

REPORTS_S: Final = 1.0
"""Seconds between two calls to the master for what running tasks report."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadline


def progress(futures: Iterable[F], *, label: str = "", timeout: Timeout = None) -> list[F]:
    """Wait until every future has its outcome, and draw a bar meanwhile; returns the futures as a list, in their order.

        futures = [client.submit(resize, path) for path in paths]
        for future in distq.progress(futures):
            print(future.result())

    The bar counts tasks that have ended, and those that failed; what a running task reports with
    `distq.current().progress(...)` is added. It is drawn on a terminal (standard error), or below the cell of a
    notebook. Elsewhere a plain line is printed after ten seconds, and later ones at longer intervals. Ctrl-C ends the
    wait and leaves the tasks alone. In coroutines use `AsyncClient.progress`.

    Args:
        futures: futures of distq, or of other executors.
        label: the text before the bar; the default is the name of the tasks.
        timeout: the longest wait.

    Raises:
        TimeoutError: a future has no outcome before the timeout.
        TypeError: one of the futures is none of an executor.
        NoSlotLeft: this code is a task, and tasks that wait hold every slot on which the others could run.
    """
    given = list(futures)
    for future in given:
        if not isinstance(future, Future):
            hint = "; use `await client.progress(futures)`" if isinstance(future, FutureState) else ""
            raise TypeError(f"distq.progress takes futures of executors, not {shown(future)}{hint}")
    limit_s = timeout_s(timeout)
    deadline = None if limit_s is None else _now() + limit_s
    tally = tally_of(given)
    with drawn(label or label_of(given), tally, place_here()):
        _wait_for(given, tally, deadline)
    return given


def tally_of(futures: Sequence[AnyFuture]) -> Tally:
    """A tally of these futures, and no others."""
    tally = Tally(len(futures))
    for future in futures:
        tally.add(future)
    return tally


def label_of(futures: Iterable[object]) -> str:
    """The name that the tasks of the futures have; 'tasks' if they have several names, or none."""
    names = {future.name for future in futures if isinstance(future, FutureState)}
    return short_name(names.pop()) if len(names) == 1 else "tasks"


def short_name(name: str) -> str:
    """The name of a function without its module."""
    return name.rpartition(":")[2] or "tasks"


def without_ended(left: list[G]) -> G | None:
    """Remove futures that have ended from the end of the list; returns the last one that is left, None if none is."""
    while left and has_ended(left[-1]):
        left.pop()
    return left[-1] if left else None


def out_of_time(futures: Sequence[AnyFuture]) -> TimeoutError:
    """The error of a wait that ends before all futures have their outcomes."""
    left = sum(not has_ended(future) for future in futures)
    return TimeoutError(f"{counted(left, 'future')} of {len(futures):,} without an outcome at the timeout")


def _wait_for(futures: Sequence[Future[Any]], tally: Tally, deadline: float | None) -> None:
    left = list(futures)
    reports_at = _now() + REPORTS_S
    while (last := without_ended(left)) is not None:
        left_s = REPORTS_S if deadline is None else min(REPORTS_S, deadline - _now())
        if left_s <= 0:
            raise out_of_time(futures)
        if isinstance(last, TaskFuture):
            last.wait_for_end(left_s)
        else:
            wait((last,), left_s)
        if _now() >= reports_at:
            tally.reports = _reports(left)
            reports_at = _now() + REPORTS_S


def _reports(futures: Iterable[Future[Any]]) -> list[Progress]:
    """What the oldest tasks that have not ended report."""
    reports = []
    for future in oldest(futures):
        with suppress(DistqError):  # no master answers: the bar stays as it is
            report = future.progress() if isinstance(future, TaskFuture) else None
            if report is not None:
                reports.append(report)
    return reports


def oldest(futures: Iterable[G]) -> list[G]:
    """The first futures without an outcome, at most REPORTS_MAX."""
    found: list[G] = []
    for future in futures:
        if len(found) == REPORTS_MAX:
            break
        if not has_ended(future):
            found.append(future)
    return found
