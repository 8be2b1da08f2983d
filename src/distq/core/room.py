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
        which = f"{counted(kept, 'task')} of the queue {queue.name!r}, with those that have ended"
        raise _full(registry, envelope, "tasks_per_queue_max", f"{which}; the limit of a queue is {most:,}")


def check_key_room(registry: Registry, envelope: Envelope, count: int, most: int) -> None:
    """Raise TasksFull if `count` more tasks would exceed `most` tasks of the envelope's key."""
    of_key = envelope.key_tasks
    kept = of_key.kept + of_key.reserved
    if of_key.name and kept + count > most:
        which = f"{counted(kept, 'task')} that the key {of_key.name!r} has submitted, with those that have ended"
        raise _full(registry, envelope, "tasks_per_key_max", f"{which}; the limit of a key is {most:,}")


def _full(registry: Registry, envelope: Envelope, limit: str, what: str) -> TasksFull:
    """Count a limit that was met, and return its error."""
    envelope.counters.count(envelope.counters.rejected, "kept")
    registry.limits_met[limit] += 1
    return TasksFull(f"the master keeps {what} (DISTQ_{limit.upper()}).")
