"""The views of a master and of a worker, from which the metrics and the HTTP API read their figures.

Master and worker keep these figures for themselves; none is computed for a scrape alone.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from distq.core.counters import Histogram, TaskCounters
from distq.core.demand import Placement
from distq.core.queue import Queue
from distq.core.task import Task


class WorkerRow(NamedTuple):
    """One connected worker, as the master knows it; instants are seconds of the master's clock."""

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
    """Number of task names that the worker returned because it has no such function; the master retries these tasks."""
    unknown_first: tuple[str, ...] = ()
    """The first of these names."""
    accept: str = ""
    """The worker's DISTQ_ACCEPT; '' if it does not say."""
    unsigned: str = ""
    """Whether it runs unsigned payloads, `accept` or `refuse`; '' if it does not say."""


class MasterMetrics(Protocol):
    """The figures of a master, consistent between two of its cycles."""

    @property
    def instance(self) -> str:
        """A random word, new with each start of the master."""

    @property
    def epoch(self) -> int:
        """The epoch of its leadership."""

    @property
    def store(self) -> str:
        """The value of DISTQ_STORE."""

    @property
    def started_at(self) -> float:
        """Instant of the start, in seconds of the master's clock."""

    @property
    def target_drain_s(self) -> float:
        """The value of DISTQ_TARGET_DRAIN_S."""

    @property
    def key_uses(self) -> Mapping[tuple[str, str], int]:
        """Handshakes and HTTP requests by the name and the age (current, old) of the key that they proved."""

    @property
    def forbidden_calls(self) -> Mapping[str, int]:
        """Calls and HTTP requests that keys did not allow, by the name of the key."""

    @property
    def auth_failures(self) -> int:
        """Connections and HTTP requests that failed to authenticate."""

    @property
    def connections_refused(self) -> int:
        """Connections that the server refused because there were too many."""

    @property
    def limits_met(self) -> Mapping[str, int]:
        """Number of times that a limit has refused or closed something, by its setting in lower case."""

    @property
    def unknown_settles(self) -> int:
        """Outcomes of tasks that the ledger does not know."""

    @property
    def loop_lag(self) -> Histogram:
        """Delay of the event loop in seconds, sampled."""

    @property
    def store_health(self) -> Mapping[str, object]:
        """The last figures of the store; empty before the first ones."""

    @property
    def store_commits(self) -> Histogram:
        """Duration of each commit in seconds."""

    @property
    def store_refusals(self) -> int:
        """Commits that the store refused."""

    @property
    def refused_content(self) -> str:
        """What the store refuses now because of its content, as a sentence; '' for nothing."""

    @property
    def leases_expired(self) -> Mapping[str, int]:
        """Leases that ended because the worker did not renew them, by pool; `plain` for standard-library programs."""

    @property
    def schedules(self) -> Mapping[str, int]:
        """Number of schedules by state: active, paused, faulty."""

    @property
    def scheduled_runs(self) -> Mapping[str, int]:
        """Scheduled runs that became due, by outcome: submitted, skipped."""

    @property
    def internal_errors(self) -> Mapping[str, int]:
        """Internal errors in the master, by place."""

    @property
    def undelivered_bytes(self) -> int:
        """Bytes of results and errors in memory that clients have not fetched."""

    @property
    def client_sessions(self) -> int:
        """Number of client sessions."""

    @property
    def clock_steps(self) -> int:
        """Changes of the machine's clock that the master followed."""

    @property
    def clock_stepped_s(self) -> float:
        """Sum of these changes in seconds."""

    @property
    def leaderships(self) -> Mapping[str, int]:
        """Number of leaderships that this process began, by cause; empty on a store that masters cannot share."""

    def now(self) -> float:
        """Return the present instant of the master's clock."""

    def not_ready(self) -> str | None:
        """Return the reason why the master does not accept tasks, as a sentence; None if it does."""

    def key_connections(self) -> Mapping[tuple[str, str], int]:
        """Open connections by the name and the age of their key."""

    def queues(self) -> Iterable[Queue[Task]]:
        """Return all queues."""

    def counters(self) -> Mapping[tuple[str, str], TaskCounters]:
        """Return the counters by (queue, task name), in order of first use; names beyond the limit are `other`."""

    def placement(self) -> Placement:
        """Return which tasks the connected workers can run."""

    @property
    def dead_letters_max(self) -> int | None:
        """Maximum dead letters, None without a limit."""

    @property
    def gone(self) -> TaskCounters:
        """The counts of names that are no longer kept: submitted and completed."""

    def workers(self) -> Iterable[WorkerRow]:
        """Return the connected workers."""

    def connections(self) -> Mapping[str, int]:
        """Return the open connections by role: worker, executor, client, cli, plain; unproved in the handshake."""


class StandbyMetrics(Protocol):
    """The figures of a master that stands by."""

    @property
    def leader(self) -> str:
        """The address of the leader, '' if none is known."""

    @property
    def waiting(self) -> str:
        """What the master waits for, as a clause."""

    @property
    def passed_connections(self) -> int:
        """Number of connections that are passed on, or wait for a leader."""

    @property
    def lag_s(self) -> float:
        """How long ago the master knew all tasks that the store has."""

    @property
    def leaderships(self) -> Mapping[str, int]:
        """Number of leaderships that this process began, by cause."""


class WorkerMetrics(Protocol):
    """The figures of a worker, kept by its supervisor."""

    @property
    def pool(self) -> str:
        """The value of DISTQ_POOL."""

    @property
    def slots(self) -> int:
        """Number of slots."""

    @property
    def busy(self) -> int:
        """Number of slots that run a task."""

    @property
    def exits(self) -> Mapping[str, int]:
        """Executors that ended, by cause: oom, signal, recycle, timeout, stopped, hung, crash."""

    @property
    def tasks(self) -> Mapping[str, int]:
        """Tasks that the worker settled, by outcome: success, failure, released."""

    @property
    def connected(self) -> bool:
        """Whether the worker is connected to a master."""

    @property
    def draining(self) -> bool:
        """Whether the worker takes no more tasks and is about to end."""
