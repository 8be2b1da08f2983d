"""The seams of the broker: what keeps the heads and bodies, and what tells the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.core.errors import DistqError

if TYPE_CHECKING:
    from pathlib import Path


class Keep:
    """The type of `KEEP`."""

    __slots__ = ()


KEEP: Final = Keep()
"""In a change: the body stays as it is, only the head is written."""

Heads = Sequence[tuple[int, bytes | None]]
"""A run of (key, head); None for a key that was dropped."""

Row = tuple[bytes, "bytes | Keep"] | None
"""The change of one key: (head, body) stores both, (head, KEEP) replaces the head, None drops the key."""

Batch = Mapping[int, Row]
"""The changes of one commit, by key."""


class StoreLimits(NamedTuple):
    """What one commit may carry; the broker cuts its batches to fit."""

    body_bytes_max: int
    batch_bytes_max: int
    batch_changes_max: int


class StoreError(DistqError):
    """The root of what a commit may raise."""

    code = "STORE"
    exit_code = 4


class CommitRefused(StoreError):
    """Nothing of the batch is stored nor ever will be; the store works on (it is full, or a body is too large)."""

    code = "STORE_REFUSED"


class Fenced(StoreError):
    """Nothing of the batch is stored: another process leads now."""

    code = "STORE_FENCED"


class CommitUnknown(StoreError):
    """Stored whole or not at all; only the next `follow()` tells which. Answer nobody, reopen."""

    code = "STORE_UNKNOWN"


class Store(Protocol):
    """A durable map from a 64-bit key to a head and a body. It knows no law and no clock."""

    limits: StoreLimits
    epoch: int
    """0 until `follow` has ended; grows with every leadership."""
    leader: str
    """The address that the present leader gave, '' if none is known."""

    def follow(self, address: str) -> AsyncIterator[Heads]:
        """All heads so far, then others' commits as they come; ends when this process leads."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Store the batch whole; durable when it returns. Raises Refused, Fenced or Unknown.

        One commit at a time, never cancelled while it waits; an empty batch is a barrier.
        """
        ...

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies of `keys`, None for each that is not there.

        With `bytes_max` only those of the first keys that have no more bytes than that together, but one at least: who
        wants the others asks again.
        """
        ...

    async def copy(self) -> Path:
        """A consistent copy of all that is committed, in a file of this machine that the caller removes.

        Raises Refused where there is nothing to copy or no room for it.
        """
        ...

    async def lost(self) -> str:
        """Return when leadership is over, with the reason."""
        ...

    async def health(self) -> Mapping[str, object]:
        """Role, bytes, room, seconds of the last commit: whatever this store can tell."""
        ...

    async def close(self) -> None:
        """Give everything back; a second call does nothing."""
        ...


class Clock(Protocol):
    """Tells the master's time: seconds since 1970 that never step back while the process lives."""

    def now(self) -> float:
        """The present moment in seconds."""
        ...
