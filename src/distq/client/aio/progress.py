"""Waits for the futures of an asyncio client, and shows how far their tasks are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from distq.client.aio.future import AsyncFuture
from distq.client.progress.drawing import drawn
from distq.client.progress.places import place_here
from distq.client.progress.tally import Tally
from distq.client.progress.waiting import REPORTS_S, label_of, oldest, out_of_time, tally_of, without_ended
from distq.core.errors import DistqError
from distq.core.ranges import shown
from distq.tasks.current import Progress

R = TypeVar("R")


async def wait_with_bar(futures: Iterable[AsyncFuture[R]], label: str, limit_s: float | None) -> list[AsyncFuture[R]]:
    """Do what `AsyncClient.progress` describes."""
    given = list(futures)
    for future in given:
        if not isinstance(future, AsyncFuture):
            raise TypeError(
                f"progress takes futures of an AsyncClient, not {shown(future)}; distq.progress takes others"
            )
    tally = tally_of(given)
    with drawn(label or label_of(given), tally, place_here()):
        try:
            async with asyncio.timeout(limit_s):
                await _wait_for(given, tally)
        except TimeoutError:
            raise out_of_time(given) from None
    return given


async def _wait_for(futures: Sequence[AsyncFuture[Any]], tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    left = list(futures)
    reports_at = loop.time() + REPORTS_S
    while (last := without_ended(left)) is not None:
        last.check_loop()
        await last.wait_until_ended(REPORTS_S)
        if loop.time() >= reports_at:
            tally.reports = await _reports(left)
            reports_at = loop.time() + REPORTS_S


async def _reports(futures: Iterable[AsyncFuture[Any]]) -> list[Progress]:
    """What the oldest tasks that have not ended report."""
    reports = []
    for future in oldest(futures):
        with suppress(DistqError):  # no master answers: the bar stays as it is
            report = await future.progress()
            if report is not None:
                reports.append(report)
    return reports
