"""A master and a worker for tests, whose answers the test sets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.core.build import AnyWorker

from distq.core.counters import Histogram, TaskCounters
from distq.core.demand import Placement
from distq.core.queue import Queue
from distq.core.task import Task
from distq.metrics.view import WorkerRow


@dataclass
class FakeMaster:
    """A `MasterMetrics` whose every answer is an attribute."""

    instance: str = "a1b2"
    epoch: int = 1
    store: str = "memory:"
    started_at: float = 1000.0
    target_drain_s: float = 60.0
    auth_failures: int = 0
    connections_refused: int = 0
    key_uses: dict[tuple[str, str], int] = field(default_factory=dict)
    forbidden_calls: dict[str, int] = field(default_factory=dict)
    all_key_connections: dict[tuple[str, str], int] = field(default_factory=dict)
    limits_met: dict[str, int] = field(default_factory=dict)
    unknown_settles: int = 0
    loop_lag: Histogram = field(default_factory=Histogram)
    store_health: dict[str, object] = field(default_factory=dict)
    store_commits: Histogram = field(default_factory=Histogram)
    store_refusals: int = 0
    leaderships: Mapping[str, int] = field(default_factory=dict)
    refused_content: str = ""
    leases_expired: dict[str, int] = field(default_factory=dict)
    schedules: dict[str, int] = field(default_factory=dict)
    scheduled_runs: dict[str, int] = field(default_factory=dict)
    internal_errors: dict[str, int] = field(default_factory=dict)
    undelivered_bytes: int = 0
    client_sessions: int = 0
    clock_steps: int = 0
    clock_stepped_s: float = 0.0
    time: float = 1060.0
    reason: str | None = None
    all_queues: list[Queue[Task]] = field(default_factory=list)
    all_counters: dict[tuple[str, str], TaskCounters] = field(default_factory=dict)
    dead_letters_max: int | None = None
    gone: TaskCounters = field(default_factory=TaskCounters)
    all_workers: list[WorkerRow] = field(default_factory=list)
    all_connections: dict[str, int] = field(default_factory=dict)

    def now(self) -> float:
        """Return the time that the test has set."""
        return self.time

    def key_connections(self) -> Mapping[tuple[str, str], int]:
        """Return the connections that the test has set."""
        return self.all_key_connections

    def not_ready(self) -> str | None:
        """Return the reason that the test has set."""
        return self.reason

    def queues(self) -> Iterable[Queue[Task]]:
        """Return the queues that the test has set."""
        return self.all_queues

    def counters(self) -> Mapping[tuple[str, str], TaskCounters]:
        """Return the counters that the test has set."""
        return self.all_counters

    def placement(self) -> Placement:
        """Return the placement of a master without workers."""
        return AnyWorker()

    def workers(self) -> Iterable[WorkerRow]:
        """Return the workers that the test has set."""
        return self.all_workers

    def connections(self) -> Mapping[str, int]:
        """Return the connections that the test has set."""
        return self.all_connections


@dataclass
class FakeStandby:
    """A `StandbyMetrics` whose every answer is an attribute."""

    leader: str = "10.0.0.7:9000"
    waiting: str = ""
    passed_connections: int = 0
    lag_s: float = 0.0
    leaderships: Mapping[str, int] = field(default_factory=lambda: {"handover": 1, "takeover": 0})


@dataclass
class FakeWorker:
    """A `WorkerMetrics` whose every answer is an attribute."""

    pool: str = "default"
    slots: int = 4
    busy: int = 1
    exits: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    connected: bool = True
    draining: bool = False


def worker_row(name: str = "w1", *, pool: str = "default", busy: int = 1, draining: bool = False) -> WorkerRow:
    """Return a connected worker with four slots."""
    return WorkerRow(
        name=name,
        pool=pool,
        host="host-1",
        pid=42,
        slots=4,
        busy=busy,
        draining=draining,
        version="0.1.0",
        python="3.11.7",
        connected_at=1000.0,
        seen_at=1050.0,
        memory_bytes=64 << 20,
    )
