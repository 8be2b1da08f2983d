"""Wakes coroutines that wait for a fact of their client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Changes:
    """Coroutines that wait for a fact, each of which looks again after each change."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Have all waiting coroutines look again."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait_for(self, fact: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `fact()` is true; False if `timeout_s` seconds (None: for ever) are over first."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        while not fact():
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return fact()
            finally:
                if not waiter.done() or waiter.cancelled():
                    self._forget(waiter)
        return True

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)


def settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future the result or the error of its steps; its coroutine may have been cancelled."""
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
