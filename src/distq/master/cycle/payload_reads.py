"""Reads payloads from the store into memory, and says how many of them fit one reply."""

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

ReadCallback = Callable[[list["bytes | None"]], None]
"""Takes the bodies that were read, in the order of their keys."""
REPLY_BYTES_MAX: Final = 8 << 20
"""Maximum bytes of the bodies in one reply (one larger body goes alone): a reply must fit a frame, and while the master
packs it nothing else runs."""


async def read_fitting(ledger: Ledger, store: Store, tasks: list[Task], bytes_max: int) -> int:
    """Read the payloads of the first tasks, as many as fit one reply; returns how many these are."""
    await read_payloads(ledger, store, tasks, bytes_max)
    loaded = itertools.takewhile(lambda task: task.body is not None, tasks)
    return how_many_fit([len(task.body or b"") for task in loaded], bytes_max)


async def read_payloads(ledger: Ledger, store: Store, tasks: Iterable[Task], bytes_max: int | None = None) -> None:
    """Read the payloads of these tasks into memory, or those of the first tasks that have at most `bytes_max` together.

    Raises StoreError if the store lacks one.
    """
    missing = [task for task in tasks if task.body is None]
    bodies = await store.read([task.task_key for task in missing], bytes_max)
    for task, body in zip(missing, bodies, strict=bytes_max is None):
        if body is None:
            raise StoreError(f"The store has no payload of task {id_text(task.task_key)}, which it should have.")
        ledger.state.cache.hold(task, body)
