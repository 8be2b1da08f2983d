"""The interfaces that the broker needs: the store of heads and bodies, and the clock."""

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
"""The body in a change that replaces only the head; the stored body stays."""

Heads = Sequence[tuple[int, bytes | None]]
"""A sequence of (key, head); the head is None for a key that was dropped."""

FORGET: Final[Heads] = []
"""What `Store.follow` yields, itself and no equal list, if all heads that it has yielded are void: all come again."""

Row = tuple[bytes, "bytes | Keep"] | None
"""The change of one key: (head, body) stores both, (head, KEEP) replaces the head, None drops the key."""

Batch = Mapping[int, Row]
"""The changes of one commit, by key."""


class StoreLimits(NamedTuple):
    """The limits of one commit; the broker splits its batches to respect them."""

    body_bytes_max: int
    batch_bytes_max: int
    batch_changes_max: int


class StoreError(DistqError):
    """The base class of the errors that a commit may raise."""

    code = "STORE"
    exit_code = 4


class CommitRefused(StoreError):
    """The store refused the whole batch for good (it is full, or a body is too large) and continues to work.

    Args:
        is_general: whether the store refuses other batches too, because it lacks room or is locked; False if what the
            batch holds may be the reason.
    """

    code = "STORE_REFUSED"

    def __init__(self, text: str, *, is_general: bool = False) -> None:
        super().__init__(text)
        self.is_general = is_general


class Fenced(StoreError):
    """Nothing of the batch is stored, because another process is the leader now."""

    code = "STORE_FENCED"


class CommitUnknown(StoreError):
    """The batch is stored completely or not at all, and only the next `follow()` shows which.

    The master answers no request of the batch and ends; the next one reads from the store what was stored.
    """

    code = "STORE_UNKNOWN"


class Store(Protocol):
    """A durable map from a 64-bit key to a head and a body; it knows neither the state machine nor the clock."""

    limits: StoreLimits
    epoch: int
    """The number of the leadership: 0 until `follow` has ended, larger for each new leader."""
    leader: str
    """The address that the present leader gave to `follow`, '' if no leader is known."""
    waiting: str
    """What `follow` waits for besides reading, as a clause for the log; '' if it reads or cannot tell."""

    def follow(self, address: str) -> AsyncIterator[Heads]:
        """All stored heads, then the commits of other leaders; the iteration ends when this process is the leader.

        After FORGET all heads follow again.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Store the complete batch; it is durable on return. Raises CommitRefused, Fenced or CommitUnknown.

        The caller makes one commit at a time and never cancels it. An empty batch is a barrier.
        """
        ...

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies of `keys`, None for each key that is not stored.

        With `bytes_max` the store returns the bodies of the first keys, at most `bytes_max` bytes in total but at least
        one body; the caller reads the others by further calls.
        """
        ...

    async def copy(self) -> Path:
        """Write a consistent copy of all commits into a file on this machine, which the caller removes.

        Raises CommitRefused if there is nothing to copy or no disk space for the copy.
        """
        ...

    async def lost(self) -> str:
        """Wait until this process is no longer the leader; returns the reason."""
        ...

    async def health(self) -> Mapping[str, object]:
        """The facts that this store reports, such as role, bytes, free space and seconds of the last commit."""
        ...

    async def close(self) -> None:
        """Release all resources of the store; a second call does nothing."""
        ...


class Clock(Protocol):
    """The master's clock: seconds since 1970 that never go back while the process runs."""

    def now(self) -> float:
        """The present time, in seconds since 1970."""
        ...
