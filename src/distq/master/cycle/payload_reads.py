"""Payloads on their way from the store into memory, and how many of them go to one executor together."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from distq.core.payload_cache import how_many_fit
from distq.core.ports import Store, StoreError
from distq.core.task import Task
from distq.core.task_ids import id_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.ledger import Ledger

Then = Callable[[list["bytes | None"]], None]
"""Takes the bodies that were read."""
REPLY_BYTES_MAX: Final = 8 << 20
"""Bodies of one reply have at most so many bytes together, but for one alone: it must fit a frame, and costs time."""


async def read_fitting(ledger: Ledger, store: Store, tasks: list[Task], bytes_max: int) -> int:
    """Have the payloads of as many of these tasks in memory as go together; how many these are."""
    await read_payloads(ledger, store, tasks, bytes_max)
    there = itertools.takewhile(lambda task: task.body is not None, tasks)
    return how_many_fit([len(task.body or b"") for task in there], bytes_max)


async def read_payloads(ledger: Ledger, store: Store, tasks: Iterable[Task], bytes_max: int | None = None) -> None:
    """Have the payloads of these tasks in memory, or of as many of the first as have so many bytes.

    Raises StoreError if one is not there.
    """
    missing = [task for task in tasks if task.body is None]
    bodies = await store.read([task.task_key for task in missing], bytes_max)
    for task, body in zip(missing, bodies, strict=bytes_max is None):
        if body is None:
            raise StoreError(f"The store has no payload of task {id_text(task.task_key)}, which it should have.")
        ledger.state.cache.hold(task, body)
