"""The limits of tasks, including their results, of one queue and of one key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core.errors import TasksFull
from distq.core.plurals import counted

if TYPE_CHECKING:
    from distq.core.registry import Registry
    from distq.core.task import Envelope


def check_queue_room(registry: Registry, envelope: Envelope, count: int, most: int) -> None:
    """Raise TasksFull if `count` more tasks would exceed `most` tasks of the envelope's queue."""
    queue = envelope.queue
    kept = sum(queue.counts) + queue.reserved
    if kept + count > most:
        envelope.counters.count(envelope.counters.rejected, "kept")
        registry.limits_met["tasks_per_queue_max"] += 1
        raise TasksFull(
            f"the master keeps {counted(kept, 'task')} of the queue {queue.name!r}, with those that have ended; "
            f"the limit of a queue is {most:,} (DISTQ_TASKS_PER_QUEUE_MAX)."
        )


def check_key_room(registry: Registry, envelope: Envelope, count: int, most: int) -> None:
    """Raise TasksFull if `count` more tasks would exceed `most` tasks of the envelope's key."""
    of_key = envelope.key_tasks
    kept = of_key.kept + of_key.reserved
    if of_key.name and kept + count > most:
        envelope.counters.count(envelope.counters.rejected, "kept")
        registry.limits_met["tasks_per_key_max"] += 1
        raise TasksFull(
            f"the master keeps {counted(kept, 'task')} that the key {of_key.name!r} has submitted, with those that "
            f"have ended; the limit of a key is {most:,} (DISTQ_TASKS_PER_KEY_MAX)."
        )
