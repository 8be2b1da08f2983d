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


class LoopOwner:
    """The event loop and the process in which a client was used first."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop; None before the client's first call."""
        self._pid = 0

    def begin(self) -> asyncio.AbstractEventLoop:
        """Take the running event loop at the first call; raise WrongLoop in any other one after it."""
        if self.loop is None:
            self.loop, self._pid = asyncio.get_running_loop(), os.getpid()
            return self.loop
        if self._pid != os.getpid():
            raise WrongLoop(f"This AsyncClient was used before a fork, by process {self._pid}.")
        if self.loop.is_closed():
            raise WrongLoop("The event loop in which this AsyncClient was used is closed.")
        raise WrongLoop("This AsyncClient was used in another event loop.")
