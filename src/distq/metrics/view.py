"""What the metrics and the API read of a master or a worker, at scrape time and only then.

Whoever implements these hands out what it counts anyway; nothing is counted for a scrape.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from distq.core.counters import Histogram, TaskCounters
from distq.core.demand import Placement
from distq.core.queue import Queue


class WorkerRow(NamedTuple):
    """One connected worker, as the master knows it; times are seconds of the master's clock."""

    name: str
    pool: str
    host: str
    pid: int
    slots: int
    busy: int
    draining: bool
    version: str
    python: str
    connected_at: float
    seen_at: float
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    unknown_names: int = 0
    """Names of tasks that it has handed back for want of such a function, and that are to be tried again."""
    unknown_first: tuple[str, ...] = ()
    """A few of them."""


class MasterMetrics(Protocol):
    """A master, to be read between two of its cycles."""

    @property
    def instance(self) -> str:
        """A word that is new with every start of the master."""

    @property
    def epoch(self) -> int:
        """The epoch of its leadership."""

    @property
    def store(self) -> str:
        """What DISTQ_STORE says."""

    @property
    def started_at(self) -> float:
        """When it started, in seconds of its clock."""

    @property
    def target_drain_s(self) -> float:
        """What DISTQ_TARGET_DRAIN_S says."""

    @property
    def auth_failures(self) -> int:
        """How many peers did not have the key."""

    @property
    def turned_down(self) -> int:
        """How many connections were closed at once because there were too many."""

    @property
    def unknown_settles(self) -> int:
        """How many answers were about tasks that the ledger does not know."""

    @property
    def loop_lag(self) -> Histogram:
        """How late its event loop was, sampled."""

    @property
    def store_health(self) -> Mapping[str, object]:
        """What the store said of itself last; empty before the first time."""

    @property
    def store_commits(self) -> Histogram:
        """Seconds of each commit."""

    @property
    def store_refusals(self) -> int:
        """How many commits the store has refused."""

    @property
    def leases_expired(self) -> Mapping[str, int]:
        """How many leases have ended because nobody renewed them, by pool; programs of the standard library: plain."""

    @property
    def schedules(self) -> Mapping[str, int]:
        """How many schedules it keeps, by state: active, paused, faulty."""

    @property
    def schedule_moments(self) -> Mapping[str, int]:
        """How many moments of schedules have come, by what became of them: submitted, skipped."""

    @property
    def internal_errors(self) -> Mapping[str, int]:
        """How many errors of distq itself have come up in the master's cycle, by place."""

    @property
    def undelivered_bytes(self) -> int:
        """Bytes of results and errors in memory that clients have not fetched."""

    @property
    def client_sessions(self) -> int:
        """How many clients it knows."""

    @property
    def clock_steps(self) -> int:
        """How often the master's clock was set, as its machine's was."""

    @property
    def clock_stepped_s(self) -> float:
        """By how many seconds in all."""

    def now(self) -> float:
        """The present moment of its clock."""

    def not_ready(self) -> str | None:
        """Why it does not take tasks, as a sentence; None when it does."""

    def queues(self) -> Iterable[Queue]:
        """All queues."""

    def tallies(self) -> Mapping[tuple[str, str], TaskCounters]:
        """The counters by (queue, task name), in the order in which the names came up; late ones are `other`."""

    def placement(self) -> Placement:
        """The connected workers, as they matter to ready tasks at present."""

    @property
    def dead_letters_max(self) -> int | None:
        """How many dead letters are kept, None without a limit."""

    @property
    def gone(self) -> TaskCounters:
        """What was counted of names that have gone since: submitted and completed."""

    def workers(self) -> Iterable[WorkerRow]:
        """The workers that are connected."""

    def connections(self) -> Mapping[str, int]:
        """Open connections by role: worker, executor, client, cli, plain; unproved before the handshake's end."""


class WorkerMetrics(Protocol):
    """A worker, as its supervisor knows it."""

    @property
    def pool(self) -> str:
        """What DISTQ_POOL says."""

    @property
    def slots(self) -> int:
        """How many executors it runs."""

    @property
    def busy(self) -> int:
        """How many of them run a task now."""

    @property
    def exits(self) -> Mapping[str, int]:
        """How many executors ended, by cause: oom, signal, recycle, timeout, crash."""

    @property
    def tasks(self) -> Mapping[str, int]:
        """How many tasks it has answered, by outcome: success, failure, released."""

    @property
    def connected(self) -> bool:
        """Whether it is connected to a master."""

    @property
    def draining(self) -> bool:
        """Whether it takes no more tasks and will end."""
