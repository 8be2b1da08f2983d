"""The store in memory: a dict, whose rows are lost when the process ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from distq.core.payload_cache import how_many_fit
from distq.core.plurals import counted
from distq.core.ports import Batch, CommitRefused, Heads, Keep, StoreLimits

EPOCH_MAX: Final = (1 << 23) - 1
"""Highest epoch: a task key is `epoch << 40 | n` in 64 signed bits."""
LIMITS: Final = StoreLimits(body_bytes_max=1 << 30, batch_bytes_max=1 << 31, batch_changes_max=1_000_000)


class MemoryStore:
    """Heads and bodies in a dict; this process always leads.

    The caller chooses `epoch`, so that the task ids of a restarted master differ from the earlier ones.
    """

    limits = LIMITS

    def __init__(self, epoch: int) -> None:
        if not 0 < epoch <= EPOCH_MAX:
            raise ValueError(f"an epoch is 1 to {EPOCH_MAX}, not {epoch}")
        self.epoch = 0
        self.leader = ""
        self.waiting = ""
        self._next_epoch = epoch
        self._rows: dict[int, tuple[bytes, bytes]] = {}
        self._closed = False

    async def follow(self, address: str) -> AsyncIterator[Heads]:
        """Yield all heads in one list, and end immediately: no other process can lead."""
        yield [(key, head) for key, (head, _) in self._rows.items()]
        self.epoch = self._next_epoch
        self.leader = address

    async def commit(self, batch: Batch) -> None:
        """Store the batch; raise CommitRefused if it exceeds the limits or amends a key that is not stored."""
        if not self.epoch or self._closed:
            raise CommitRefused("nothing is stored before follow() has ended or after close()", is_general=True)
        self._check(batch)
        rows = self._rows
        for key, change in batch.items():
            if change is None:
                rows.pop(key, None)
            else:
                head, body = change
                rows[key] = (head, rows[key][1] if isinstance(body, Keep) else body)

    def _check(self, batch: Batch) -> None:
        limits = self.limits
        if len(batch) > limits.batch_changes_max:
            raise CommitRefused(f"a batch of {counted(len(batch), 'change')}; the limit is {limits.batch_changes_max}")
        batch_bytes = 0
        for key, change in batch.items():
            if change is None:
                continue
            head, body = change
            batch_bytes += len(head)
            if isinstance(body, Keep):
                if key not in self._rows:
                    raise CommitRefused(f"key {key:x} has no body to keep")
                continue
            body_bytes = len(body)
            batch_bytes += body_bytes
            if body_bytes > limits.body_bytes_max:
                raise CommitRefused(f"a body of {body_bytes} bytes; the limit is {limits.body_bytes_max}")
        if batch_bytes > limits.batch_bytes_max:
            raise CommitRefused(f"a batch of {batch_bytes} bytes; the limit is {limits.batch_bytes_max}")

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """Return the bodies of `keys`; with `bytes_max`, of as many of the first keys as fit, at least one."""
        bodies = [row[1] if (row := self._rows.get(key)) is not None else None for key in keys]
        return bodies if bytes_max is None else bodies[: how_many_fit([len(body or b"") for body in bodies], bytes_max)]

    async def copy(self) -> Path:
        """Raise CommitRefused: there is no file to copy."""
        raise CommitRefused(
            "a store in memory has nothing on disk that could be copied; DISTQ_STORE=sqlite:///path has."
        )

    async def lost(self) -> str:
        """Wait for ever: this process cannot lose the leadership of its own memory."""
        await asyncio.Event().wait()
        raise AssertionError

    async def health(self) -> Mapping[str, object]:
        """Return the kind of the store, its role, and its number of rows."""
        return {"kind": "memory", "role": "leader", "rows": len(self._rows)}

    async def close(self) -> None:
        """Drop all rows; the store refuses later commits."""
        self._rows.clear()
        self._closed = True
