"""Envelopes: the queue, name and options that many tasks share, stored once in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distq.core.counters import TaskCounters
    from distq.core.queue import Queue

PLAIN: Final = "plain"
"""Kind and name of a plain item, which a standard-library program puts on a queue."""
TASK: Final = "task"
"""Kind of a task that names a Python function."""

PRIORITIES: Final = 10
PRIORITY_DEFAULT: Final = 5

NO_LABELS: Final[frozenset[str]] = frozenset()
LABELS_MAX: Final = 16
"""Maximum labels that a task may require."""
LABELS_BYTES_MAX: Final = 200
"""Maximum bytes of all labels that a task requires, in UTF-8: a stored head has one byte for their length."""
COST_MAX: Final = 1_000
"""Maximum slots that one task may take."""
PROCESS, THREAD = "process", "thread"
EXECUTORS: Final = (PROCESS, THREAD)
"""Kinds of executors: one runs one task at a time; the other runs several in threads, and coroutines on one loop."""


def executor_label(kind: str) -> str:
    """The label of workers whose executors are of this kind."""
    return f"executor:{kind}"


class Envelope:
    """The queue, name and options of tasks."""

    __slots__ = (
        "__weakref__",
        "cost",
        "counters",
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
        queue: Queue,
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
        self.packed = b""
        """The envelope's part of a stored head; `head.pack_envelope` makes it."""
        queue.envelopes += 1
        counters.envelopes += 1

    def __del__(self) -> None:
        """Release the queue and the counters, which the registry may discard when no envelope uses them."""
        self.queue.envelopes -= 1
        self.counters.envelopes -= 1
