"""Serves calls that wait behind others of their connection: a little of them in each turn of the event loop.

A peer that waits for each reply has one call at a time, which is served as it arrives. Peers that send further calls
ahead share a time slice: however many they are, and however much they send, another peer's call waits for one slice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import Final, Protocol

SLICE_S: Final = 0.0003
"""Seconds in each turn of the event loop for calls that have waited: about 20 short calls."""


class Caller(Protocol):
    """A connection with calls that wait."""

    def serve_next(self) -> None:
        """Serve one call, and wait for the next turn if there are more."""
        ...


class WaitingCalls:
    """The connections whose next call waits for its turn; each has one turn before any has a second one."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._callers: deque[Caller] = deque()
        self._is_due = False

    def add(self, caller: Caller) -> None:
        """Let a connection, that is not waiting yet, wait for its turn."""
        self._callers.append(caller)
        if not self._is_due:
            self._serve_later()

    def _serve_later(self) -> None:
        self._is_due = True
        asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        callers, until_s = self._callers, perf_counter() + self._slice_s
        try:
            while callers:
                callers.popleft().serve_next()
                if perf_counter() >= until_s:
                    break
        finally:
            self._is_due = False
            if callers:
                self._serve_later()
