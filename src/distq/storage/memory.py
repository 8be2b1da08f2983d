"""The store in memory: a dict, which ends with the process."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from distq.core.payload_cache import how_many_fit
from distq.core.ports import Batch, CommitRefused, Heads, Keep, StoreLimits

EPOCH_MAX: Final = (1 << 23) - 1
"""Keys are `epoch << 40 | n` in 64 signed bits."""
LIMITS: Final = StoreLimits(body_bytes_max=1 << 30, batch_bytes_max=1 << 31, batch_changes_max=1_000_000)


class MemoryStore:
    """Heads and bodies in a dict; this process always leads.

    `epoch` is given from outside, so that task ids of a restarted master differ from those of the one before.
    """

    limits = LIMITS

    def __init__(self, epoch: int) -> None:
        if not 0 < epoch <= EPOCH_MAX:
            raise ValueError(f"an epoch is 1 to {EPOCH_MAX}, not {epoch}")
        self.epoch = 0
        self.leader = ""
        self._next_epoch = epoch
        self._rows: dict[int, tuple[bytes, bytes]] = {}
        self._closed = False

    async def follow(self, address: str) -> AsyncIterator[Heads]:
        """Yield all heads in one run, and end immediately: no other process can lead."""
        yield [(key, head) for key, (head, _) in self._rows.items()]
        self.epoch = self._next_epoch
        self.leader = address

    async def commit(self, batch: Batch) -> None:
        """Keep the batch; raises Refused for one over the limits or an amended key that is not there."""
        if not self.epoch or self._closed:
            raise CommitRefused("nothing is stored before follow() has ended or after close()")
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
            raise CommitRefused(f"a batch of {len(batch)} changes; the limit is {limits.batch_changes_max}")
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
            batch_bytes += len(body)
            if len(body) > limits.body_bytes_max:
                raise CommitRefused(f"a body of {len(body)} bytes; the limit is {limits.body_bytes_max}")
        if batch_bytes > limits.batch_bytes_max:
            raise CommitRefused(f"a batch of {batch_bytes} bytes; the limit is {limits.batch_bytes_max}")

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies of `keys`, or of as many of the first as fit."""
        bodies = [row[1] if (row := self._rows.get(key)) is not None else None for key in keys]
        return bodies if bytes_max is None else bodies[: how_many_fit([len(body or b"") for body in bodies], bytes_max)]

    async def copy(self) -> Path:
        """Raises Refused: there is no file to copy."""
        raise CommitRefused(
            "a store in memory has nothing on disk that could be copied; DISTQ_STORE=sqlite:///path has."
        )

    async def lost(self) -> str:
        """Never returns while it is awaited: leadership of one's own memory cannot be lost."""
        await asyncio.Event().wait()
        raise AssertionError

    async def health(self) -> Mapping[str, object]:
        """How many rows there are."""
        return {"kind": "memory", "role": "leader", "rows": len(self._rows)}

    async def close(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self._closed = True
