"""A task, its envelope, the holder that has its lease, and the owner that waits for its end.

A master has millions of tasks, so a task uses `__slots__` and numbers, and shares its `Envelope` with other tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.constraints import NO_CONSTRAINTS
from distq.core.key_tasks import NO_KEY, KeyTasks
from distq.core.option_values import NO_LABELS, PLAIN
from distq.core.states import DEAD, READY

if TYPE_CHECKING:
    from distq.core.counters import TaskCounters
    from distq.core.queue import Queue

DELIVERIES_SKIPPED: Final = 1 << 16
"""Added by a restarted master to the deliveries that it knows: the store does not keep every delivery."""
BY_CLIENT: Final = "by its client"
"""Cause of a task that its own client has cancelled."""


class Envelope:
    """The queue, name and options of tasks."""

    __slots__ = (
        "__weakref__",
        "cost",
        "counters",
        "key_tasks",
        "kind",
        "max_deliveries",
        "name",
        "packed",
        "priority",
        "queue",
        "requires",
        "result_ttl_s",
        "retries",
        "time_limit_s",
    )

    def __init__(
        self,
        queue: Queue[Task],
        name: str,
        kind: str,
        counters: TaskCounters,
        *,
        priority: int,
        retries: int,
        max_deliveries: int,
        result_ttl_s: float,
        time_limit_s: float | None,
        requires: frozenset[str] = NO_LABELS,
        cost: int = 1,
        key_tasks: KeyTasks = NO_KEY,
    ) -> None:
        self.queue = queue
        self.name = name
        self.kind = kind
        self.counters = counters
        self.priority = priority
        self.retries = retries
        self.max_deliveries = max_deliveries
        self.result_ttl_s = result_ttl_s
        self.time_limit_s = time_limit_s
        self.requires = requires
        """Labels that a worker must have to run the task."""
        self.cost = cost
        """Number of a worker's slots that the task takes."""
        self.key_tasks = key_tasks
        """The tasks of the key with which its tasks were submitted."""
        self.packed = b""
        """The envelope's part of a stored head; `head.pack_envelope` makes it."""
        queue.envelopes += 1
        counters.envelopes += 1

    def __del__(self) -> None:
        """Release the queue and the counters, which the registry may discard when no envelope uses them."""
        self.queue.envelopes -= 1
        self.counters.envelopes -= 1


class Holder:
    """A holder of leases: one executor of a worker, or one connection of a standard-library program."""

    __slots__ = ("executor_slots", "held", "label", "worker")

    def __init__(self, label: str, worker: object | None = None) -> None:
        self.label = label
        self.worker = worker
        self.held: dict[int, Task] = {}
        self.executor_slots = 1
        """Number of tasks that the executor runs at the same time; further tasks wait in it."""

    @property
    def labels(self) -> frozenset[str]:
        """Labels that tasks may require."""
        return NO_LABELS

    @property
    def pool(self) -> str:
        """The pool that the holder belongs to."""
        return PLAIN

    @property
    def slots(self) -> int:
        """Number of its worker's slots, which a task of a high cost may take."""
        return 1

    def free_slots(self) -> int:
        """Number of these slots that are free."""
        return 1


class Owner:
    """A client session that waits for the ends of tasks."""

    __slots__ = ("ended", "outbox")

    def __init__(self) -> None:
        self.outbox: list[Task] = []
        self.ended = False
        """Whether the session has ended, so that the master sends it no more ends of tasks."""


class Task:
    """One task, from submit to the end of its result's TTL. Instants are seconds of the master's clock."""

    __slots__ = (
        "body",
        "causes",
        "constraints",
        "delivery",
        "due_at",
        "envelope",
        "expires_at",
        "failures",
        "holder",
        "leased_at",
        "lost",
        "owner",
        "state",
        "state_since_at",
        "submitted_at",
        "task_key",
    )

    def __init__(self, task_key: int, envelope: Envelope, body: bytes | None, owner: Owner | None, now: float) -> None:
        self.task_key = task_key
        self.envelope = envelope
        self.body = body
        """The payload of a live task, or the result or error of an ended one; None while only the store has it."""
        self.owner = owner
        self.state = READY
        self.delivery = 0
        """Number of the newest lease; a settle with another number is late."""
        self.failures = 0
        """Number of attempts that ended in an exception or a time limit."""
        self.lost = 0
        """Number of deliveries whose executor died or no longer answered."""
        self.submitted_at = now
        self.state_since_at = now
        """When it entered its present state."""
        self.due_at = 0.0
        """When a delayed task becomes ready."""
        self.expires_at: float | None = None
        """When a task that waits expires, None for never."""
        self.leased_at = 0.0
        self.holder: Holder | None = None
        self.constraints = NO_CONSTRAINTS
        self.causes: list[str] | None = None
        """Why each failed or lost attempt ended, oldest first; only the newest are kept."""

    @property
    def attempt(self) -> int:
        """The attempt that runs now or would run next, from 1; of a dead letter, its last one."""
        ended = self.failures + self.lost
        return max(ended, 1) if self.state == DEAD else ended + 1

    @property
    def lease_bound(self) -> bool:
        """Whether it must stop when its lease ends, because a concurrency limit of its key or queue counts it.

        Its lease is stored before it is sent, its worker stops it when the worker cannot renew the lease, and it is
        leased again only after the lease or its executor has ended. Plain items have no such leases.
        """
        envelope = self.envelope
        return (
            bool(self.constraints.concurrency_key) or envelope.queue.policy.running is not None
        ) and envelope.kind != PLAIN


def delivery_count(delivery: int) -> int:
    """Number of deliveries, this one included; exact up to 65,535 of them, over restarts too."""
    return delivery % DELIVERIES_SKIPPED
