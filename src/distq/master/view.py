"""The master's own counters and rows, as metrics, the API and `distq status` read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from distq.core.counters import Histogram, TaskCounters
from distq.master.calls.dispatch import AdminPeer
from distq.master.sessions.clients import Clients, ClientSession
from distq.master.sessions.placement import ConnectedWorkers
from distq.master.sessions.unknown_names import UNKNOWN_SHOWN
from distq.master.sessions.worker_session import ExecutorHolder, WorkerSession
from distq.master.sessions.workers import Workers
from distq.metrics.view import WorkerRow

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.task import Task
    from distq.master.admin.schedules import Schedules
    from distq.master.calls.gate import Gate
    from distq.master.cycle.broker import Broker
    from distq.master.cycle.clock import SystemClock
    from distq.master.store_watch import StoreWatch
    from distq.net.serve import Server


class MasterView:
    """The figures of one master, which `distq.metrics.view.MasterMetrics` declares."""

    def __init__(
        self,
        broker: Broker,
        workers: Workers,
        clients: Clients,
        server: Server,
        watch: StoreWatch,
        schedules: Schedules,
        clock: SystemClock,
        gate: Gate,
        *,
        instance: str,
        store: str,
        target_drain_s: float,
        leaderships: Mapping[str, int],
    ) -> None:
        self._broker = broker
        self._workers = workers
        self._clients = clients
        self._server = server
        self._watch = watch
        self._schedules = schedules
        self._clock = clock
        self._gate = gate
        self.instance = instance
        self.store = store
        self.target_drain_s = target_drain_s
        self.leaderships = leaderships
        self._started_at = broker.clock.now() - clock.stepped_s
        self.loop_lag = Histogram()

    @property
    def started_at(self) -> float:
        """Instant of the master's start, in seconds since 1970, by its clock as it is set now."""
        return self._started_at + self._clock.stepped_s

    @property
    def epoch(self) -> int:
        """The epoch of the master's leadership."""
        return self._broker.store.epoch

    @property
    def auth_failures(self) -> int:
        """Number of peers that did not have the key."""
        return self._server.authentication_failures

    @property
    def key_uses(self) -> Mapping[tuple[str, str], int]:
        """Number of handshakes and HTTP requests by the name and the age of the key that they proved."""
        return self._server.keys.uses

    @property
    def forbidden_calls(self) -> Mapping[str, int]:
        """Number of calls that keys did not allow, by the name of the key."""
        return {name: self._gate.refused_count.get(name, 0) for name, _ in self._server.keys.uses}

    def key_connections(self) -> Mapping[tuple[str, str], int]:
        """Number of open connections by the name and the age of their key, also of keys without any."""
        found = Counter(dict.fromkeys(self._server.keys.uses, 0))
        found.update((one.authority.name, one.authority.age) for one in self._server.connections if one.authority.name)
        return found

    @property
    def connections_refused(self) -> int:
        """Number of connections that the server closed immediately because it had too many."""
        return self._server.admission.refused_count

    @property
    def limits_met(self) -> Mapping[str, int]:
        """Number of times that a limit has refused or closed something, by its setting in lower case."""
        return {**self._server.admission.met, **self._broker.ledger.registry.limits_met}

    @property
    def unknown_settles(self) -> int:
        """Number of settlements of tasks that the ledger does not know."""
        return self._broker.ledger.unknown_settles

    def now(self) -> float:
        """The present time of the master's clock, in seconds since 1970."""
        return self._broker.clock.now()

    def not_ready(self) -> str | None:
        """Why the master does not take tasks, as a sentence; None when it does."""
        if self._broker.draining:
            return "The master is draining."
        if not self._broker.store.epoch:
            return "The store is being opened."
        return self._watch.not_ready()

    @property
    def store_health(self) -> Mapping[str, object]:
        """The newest health report of the store."""
        return self._watch.health

    @property
    def store_commits(self) -> Histogram:
        """Seconds of each commit."""
        return self._watch.commits

    @property
    def store_refusals(self) -> int:
        """Number of commits that the store has refused."""
        return self._broker.refused.count

    @property
    def refused_content(self) -> str:
        """What the store refuses now because of its content, as a sentence; '' for nothing."""
        return self._broker.refused.sentence()

    @property
    def leases_expired(self) -> Mapping[str, int]:
        """Number of leases that ended because no worker renewed them, by pool."""
        return self._broker.ledger.leasing.journal.expired

    @property
    def internal_errors(self) -> Mapping[str, int]:
        """Number of errors of distq itself in the cycle, by place."""
        return self._broker.guard.counts

    @property
    def undelivered_bytes(self) -> int:
        """Bytes of results and errors in memory that clients have not fetched."""
        return self._clients.bodies.bytes

    @property
    def client_sessions(self) -> int:
        """Number of clients that the master knows."""
        return len(self._clients.sessions)

    @property
    def clock_steps(self) -> int:
        """Number of times the master's clock was set."""
        return self._clock.steps

    @property
    def clock_stepped_s(self) -> float:
        """Seconds by which the master's clock was set, in all."""
        return self._clock.stepped_s

    @property
    def schedules(self) -> Mapping[str, int]:
        """Number of schedules, by state."""
        return self._schedules.states

    @property
    def scheduled_runs(self) -> Mapping[str, int]:
        """Number of due times of schedules, by what the master did at them."""
        return self._schedules.due_instants

    def queues(self) -> Iterable[Queue[Task]]:
        """All queues."""
        return list(self._broker.ledger.registry.queues.values())

    def counters(self) -> Mapping[tuple[str, str], TaskCounters]:
        """The counters by (queue, task name)."""
        return self._broker.ledger.registry.counters

    def placement(self) -> ConnectedWorkers:
        """The connected workers, as the placement of ready tasks sees them now."""
        return ConnectedWorkers(self._workers, costly=self._broker.ledger.registry.costly, now=self.now())

    @property
    def dead_letters_max(self) -> int | None:
        """Maximum dead letters that are kept: DISTQ_DEAD_LETTERS_MAX."""
        return self._broker.ledger.defaults.dead_letters.count_max

    @property
    def gone(self) -> TaskCounters:
        """Counters of task names that the master has forgotten."""
        return self._broker.ledger.registry.counters_of_gone

    def workers(self) -> Iterable[WorkerRow]:
        """The rows of the connected workers."""
        return [_row(session) for session in self._workers.sessions.values()]

    def connections(self) -> Mapping[str, int]:
        """Number of open connections by role; `unproved` before the end of the handshake."""
        roles = Counter(dict.fromkeys(("worker", "executor", "client", "cli", "plain", "unproved"), 0))
        for line in self._server.connections:
            roles["unproved" if line in self._server.unauthenticated else _role(line.state)] += 1
        return roles

    def connections_by_key(self) -> Mapping[tuple[str, str], Counter[str]]:
        """Number of open connections by role, for each name and age of a key."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for one in self._server.connections:
            if one.authority.name:
                found.setdefault((one.authority.name, one.authority.age), Counter())[_role(one.state)] += 1
        return found


def _role(state: object) -> str:
    match state:
        case WorkerSession():
            return "worker"
        case ExecutorHolder():
            return "executor"
        case ClientSession():
            return "client"
        case AdminPeer(role=role):
            return role
        case _:
            return "plain"


def _row(session: WorkerSession) -> WorkerRow:
    return WorkerRow(
        name=session.name,
        pool=session.pool,
        host=session.host,
        pid=session.pid,
        slots=session.slots,
        busy=session.busy,
        draining=session.draining,
        version=session.version,
        python=session.python,
        connected_at=session.connected_at,
        seen_at=session.seen_at,
        memory_bytes=session.memory_bytes,
        memory_limit_bytes=session.memory_limit_bytes,
        unknown_names=len(session.unknown),
        unknown_first=tuple(islice(session.unknown, UNKNOWN_SHOWN)),
        accept=session.accept,
        unsigned=session.unsigned,
    )
