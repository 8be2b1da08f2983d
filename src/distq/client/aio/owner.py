"""The event loop to which an asyncio client belongs."""

from __future__ import annotations

import asyncio
import os

from distq.core.errors import DistqError


class WrongLoop(DistqError, RuntimeError):
    """The program uses an AsyncClient, or its future, outside the event loop in which it was used first."""

    code = "WRONG_LOOP"
    hint = "Make an AsyncClient in each event loop and each process, and end it there: async with distq.AsyncClient()."
    exit_code = 2


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop of asyncio that runs here; raises WrongLoop if there is none, as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop("An AsyncClient works in an event loop of asyncio, and none runs here.") from None


class LoopOwner:
    """The event loop and the process in which a client was used first."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop; None before the client's first call."""
        self._pid = 0

    def begin(self) -> asyncio.AbstractEventLoop:
        """Take the running event loop at the first call; raise WrongLoop in any other one after it."""
        if self.loop is None:
            self.loop, self._pid = running_loop(), os.getpid()
            return self.loop
        if self._pid != os.getpid():
            raise WrongLoop(f"This AsyncClient was used before a fork, by process {self._pid}.")
        if self.loop.is_closed():
            raise WrongLoop("The event loop in which this AsyncClient was used is closed.")
        raise WrongLoop("This AsyncClient was used in another event loop.")

    def check_thread(self) -> None:
        """Raise WrongLoop while the event loop runs in another thread."""
        if self.loop is not None and self.loop.is_running() and not _runs_here(self.loop):
            raise WrongLoop("The event loop in which this AsyncClient was used runs in another thread.")


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
