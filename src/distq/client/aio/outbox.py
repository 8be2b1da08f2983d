"""The outbox of an asyncio client: submits wait for room in it in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from distq.client.aio.changes import Changes
from distq.client.aio.future import AsyncFuture
from distq.client.outbox import UNACCEPTED_MAX, UnsentTasks

UNACCEPTED: Final = "An AsyncClient ends, and no master has accepted its last tasks."
"""The warning about tasks that are lost with their client."""


class AsyncOutbox(UnsentTasks[AsyncFuture[Any]]):
    """Holds tasks that the client has not sent yet; its sender takes them as soon as it can."""

    def __init__(self, pump: Callable[[], None]) -> None:
        super().__init__()
        self._pump = pump
        self._changes = Changes()
        self._room: deque[asyncio.Future[None]] = deque()
        """The submits that wait for room; only as many are woken as there is room for."""

    def wake(self) -> None:
        """Have the sender take tasks."""
        self._pump()

    def answered(self) -> None:
        """Wake submits for which there is room now, and the calls that wait for the answers to all submits."""
        self._changes.notify()
        room = UNACCEPTED_MAX - len(self.waiting) - (self._unanswered_count or len(self.in_flight))
        while room > 0 and self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    def wake_all(self) -> None:
        """Wake all submits that wait for room, because the connection was lost or the client was closed."""
        self._changes.notify()
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for_room(self) -> None:
        """Wait until there may be room for another task, or the connection is lost."""
        waiter = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self.answered()  # another submit gets the room of this one
            raise

    async def wait_until_empty(self, timeout_s: float | None) -> bool:
        """Wait until all submits were answered; False if `timeout_s` (None: never) is over first."""
        return await self._changes.wait_for(lambda: not self, timeout_s)
