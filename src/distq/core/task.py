"""The nouns of the ledger: a task, its envelope, who holds it.

Tasks are many (millions), so they are slots and numbers; what tasks have in common (queue, name, options)
is one shared `Envelope`. State, event and outcome are plain integers on the hot path: an `IntEnum` hashes
and compares in Python code, several times slower.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from distq.core.counters import TaskCounters
    from distq.core.queue import Queue

READY: Final = 0
DELAYED: Final = 1
LEASED: Final = 2
SUCCEEDED: Final = 3
DEAD: Final = 4
CANCELLED: Final = 5
EXPIRED: Final = 6
GONE: Final = 7
HELD: Final = 8
"""Ready but for its concurrency key, of which as many are under way as may be, or for tasks before it that have not
ended; stored as ready."""
STATE_NAMES: Final = ("ready", "delayed", "leased", "succeeded", "dead", "cancelled", "expired", "gone", "held")
LATER: Final = -1
"""In the place of a state, to a client that has asked about many tasks: this one's end did not fit, ask again."""
LIVE_STATES: Final = (READY, DELAYED, LEASED, HELD)

PLAIN: Final = "plain"
"""Kind (and task name) of what a standard-library program puts on a queue."""
TASK: Final = "task"
"""Kind of a task that names a Python function."""

DELIVERIES_SKIPPED: Final = 1 << 16
"""How far a restarted master goes on above the delivery numbers that it knows."""
BY_CLIENT: Final = "by its client"
"""Cause of what its own client has cancelled."""

PRIORITIES: Final = 10
PRIORITY_DEFAULT: Final = 5


class Outcome:
    """How an executor answers a lease, as it stands on the wire."""

    SUCCESS: Final = 0
    FAILURE: Final = 1
    RELEASED: Final = 2
    """Handed back unstarted: costs no attempt and no delivery."""
    FATAL: Final = 3
    """A failure that shall not be tried again."""
    UNKNOWN: Final = 4
    """Handed back because the worker has no function of that name: costs nothing, and it is not offered it again."""
    TIMEOUT: Final = 5
    """A failure by exceeding the time limit."""
    SNOOZED: Final = 6
    """The task asks to be run again later: costs no attempt."""
    DISCARDED: Final = 7
    """The task asks to be forgotten: it ends as cancelled."""
    PROGRESS: Final = 8
    """No answer yet: how far the task is, as JSON."""
    CHECKPOINT: Final = 9
    """No answer yet: where the next attempt shall go on."""
    PART: Final = 10
    """No answer yet: a part of what the task streams, behind its number."""


NO_LABELS: Final[frozenset[str]] = frozenset()
LABELS_MAX: Final = 16
LABELS_BYTES_MAX: Final = 200
"""Bound of all labels that a task requires, in UTF-8."""
COST_MAX: Final = 1_000
PROCESS, THREAD = "process", "thread"
EXECUTORS: Final = (PROCESS, THREAD)
"""Kinds of executors: one task at a time; several, each in a thread, or on one loop if it is a coroutine function."""


class Envelope:
    """What tasks of one kind share: where they go, what they are called, how they are tried."""

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
        tally: TaskCounters,
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
        self.counters = tally
        self.priority = priority
        self.retries = retries
        self.max_deliveries = max_deliveries
        self.result_ttl_s = result_ttl_s
        self.time_limit_s = time_limit_s
        self.requires = requires
        """Labels that a worker must have to run it."""
        self.cost = cost
        """How many of a worker's slots it takes."""
        self.packed = b""
        """The envelope's part of a stored head; set once by `head.pack_envelope`."""
        queue.envelopes += 1
        tally.envelopes += 1

    def __del__(self) -> None:
        """Its last task is gone and nobody has asked for it lately: its queue and its counters may go too."""
        self.queue.envelopes -= 1
        self.counters.envelopes -= 1


OUTCOME_NAMES: Final = ("success", "failure", "release", "failure", "release", "failure", "release", "failure")
"""What a late settle is counted as, by outcome."""


def executor_label(kind: str) -> str:
    """The label that a worker has whose executors are of this kind."""
    return f"executor:{kind}"


class Holder:
    """Who may hold leases: one executor of a worker, or one connection of a standard-library program."""

    __slots__ = ("executor_slots", "held", "label", "worker")

    def __init__(self, label: str, worker: object | None = None) -> None:
        self.label = label
        self.worker = worker
        self.held: dict[int, Task] = {}
        self.executor_slots = 1
        """How many tasks it runs at once; what it holds beyond that waits for it."""

    @property
    def labels(self) -> frozenset[str]:
        """What it has that tasks may require."""
        return NO_LABELS

    @property
    def pool(self) -> str:
        """What it is one of."""
        return PLAIN

    @property
    def slots(self) -> int:
        """How many slots there are where it is, for a heavy task to take."""
        return 1

    def room(self) -> int:
        """How many of these slots are free for it to take."""
        return 1


class Owner:
    """Who wants to hear of a task's end: one client session."""

    __slots__ = ("ended", "outbox")

    def __init__(self) -> None:
        self.outbox: list[Task] = []
        self.ended = False
        """Whether it wants to hear of nothing any more: it has said good-bye, or was away for too long."""


KEY_BYTES_MAX: Final = 64
"""Bound of concurrency and unique keys, in UTF-8."""


FAIL, CANCEL, RUN = "fail", "cancel", "run"
FAILURE_POLICIES: Final = (FAIL, CANCEL, RUN)
"""What becomes of a task when one before it fails: it is a dead letter too, is cancelled, or runs all the same."""


class DependsOn(NamedTuple):
    """Which tasks come before one: so many keys in a row, and what becomes of it if one of them fails."""

    first: int
    size: int
    policy: str = FAIL
    is_single: bool = False
    """Whether its first argument is the one result, not a list of results."""

    @property
    def keys(self) -> range:
        """The keys of the tasks before it."""
        return range(self.first, self.first + self.size)


Headers = tuple[tuple[str, str], ...]
"""What travels with a task for others than the master to read, by name: the trace that it is part of, a tenant."""
HEADERS_MAX: Final = 16
HEADERS_BYTES_MAX: Final = 1_024
"""Bound of all names and texts of a task's headers, in UTF-8."""


class TaskConstraints(NamedTuple):
    """What few tasks have: what they must not run beside, what there must be only one of, what they come after."""

    concurrency_key: str = ""
    """Concurrency key, '' for none: of one key at most ..."""
    concurrency: int = 1
    """... so many are under way at once."""
    unique_key: str = ""
    """Unique key, '' for none."""
    unique_for_s: float | None = None
    """How long after its submit the task has the unique key for itself, None for until it has ended."""
    depends_on: DependsOn | None = None
    headers: Headers = ()


NO_CONSTRAINTS: Final = TaskConstraints()


class Task:
    """One task, from submit to the end of its result's TTL. Times are seconds of the master's clock."""

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

    def __init__(self, key: int, envelope: Envelope, body: bytes | None, owner: Owner | None, now: float) -> None:
        self.task_key = key
        self.envelope = envelope
        self.body = body
        """Arguments while live, outcome once settled; None while only the store has it."""
        self.owner = owner
        self.state = READY
        self.delivery = 0
        """Number of the newest lease given; what carries another number is late."""
        self.failures = 0
        """Attempts that ended in an exception or a time limit."""
        self.lost = 0
        """Deliveries that ended because whoever ran the task died or fell silent."""
        self.submitted_at = now
        self.state_since_at = now
        """When it entered its present state."""
        self.due_at = 0.0
        """When a delayed task becomes ready."""
        self.expires_at: float | None = None
        """From when on it must not be begun any more, None for never."""
        self.leased_at = 0.0
        self.holder: Holder | None = None
        self.constraints = NO_CONSTRAINTS
        self.causes: list[str] | None = None
        """Why each failed or lost attempt ended, oldest first; the last few are kept."""

    @property
    def attempt(self) -> int:
        """The attempt that runs now or would run next, from 1."""
        return self.failures + self.lost + 1

    @property
    def lease_bound(self) -> bool:
        """Whether it must end with its lease, since so many may run at once: of its key, or of its queue.

        Its lease is stored before it is handed over, its worker stops it when it can renew the lease no more, and it
        goes to another no sooner than the lease has ended, or its executor has. Plain items know of no leases.
        """
        envelope = self.envelope
        return (
            bool(self.constraints.concurrency_key) or envelope.queue.policy.running is not None
        ) and envelope.kind != PLAIN


def delivery_count(delivery: int) -> int:
    """How many deliveries there were, this one included; exact up to 65,535 of them, over restarts too."""
    return delivery % DELIVERIES_SKIPPED


def trace_id_of(headers: Headers) -> str:
    """The id of the trace that a task is part of, '' for none.

    The second part of `traceparent`: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    parts = next((text.split("-") for name, text in headers if name == "traceparent"), ())
    return parts[1] if len(parts) >= 4 else ""


_ID: Final = re.compile("([0-9a-f]{1,12})-([0-9a-f]{1,10})")


def id_text(key: int) -> str:
    """A task's id as people see it: epoch and number, in hexadecimal."""
    return f"{key >> 40:x}-{key & 0xFFFFFFFFFF:x}"


def task_key_of(text: str) -> int:
    """The key of a task id's text; raises ValueError for anything else."""
    match = _ID.fullmatch(text) if isinstance(text, str) else None
    key = int(match[1], 16) << 40 | int(match[2], 16) if match else 0
    if match is None or id_text(key) != text:
        raise ValueError(f"a task id is two hexadecimal numbers, as in 1a-2f, not {text!r:.60}")
    return key
