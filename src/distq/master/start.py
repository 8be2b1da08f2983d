"""Starts a master process: one that is alone on its store, or one of several on a shared store."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Final

import uvloop

from distq.master.main import Master
from distq.net.descriptors import room_for_connections
from distq.storage import is_shared

if TYPE_CHECKING:
    from distq.settings import Settings

COLLECTOR_THRESHOLDS: Final = (10_000, 20, 1_000_000)
"""Allocations before a young collection, young ones before a middle one, middle ones before a full one (never)."""


def _bound_collections() -> None:
    """Keep Python's cycle collector away from the tasks.

    A master has millions of tasks, which live long and are never garbage in a cycle; a collection of the oldest
    generation looks at all of them, and stops a master of two million tasks for a third of a second. The collector
    still collects young objects.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def run(settings: Settings) -> int:
    """Run a master until SIGTERM, SIGINT or SIGHUP; return its exit code. Raises DistqError before it listens."""

    async def serve() -> int:
        if is_shared(settings.store):
            from distq.master.replica import Replica  # noqa: PLC0415 - a master that is alone does not need it

            replica = Replica(settings)
            replica.prepare_process()
            return await replica.run()
        master = Master(settings)
        master.prepare_process()
        return await master.run()

    room_for_connections()  # before the event loop, which takes descriptors itself: the error is one sentence
    _bound_collections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())
