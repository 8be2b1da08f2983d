"""One worker, as the master sees it: its session, its executors, and its heartbeat that waits for a reply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distq.core.option_values import NO_LABELS, PLAIN
from distq.core.queue import WORK
from distq.core.task import Holder, Task
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.unknown_names import UnknownNames
from distq.protocol.heartbeat import write_answer
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList
    from distq.master.cycle.requests import Cycle, Request
    from distq.net.serve import ServerConnection
    from distq.protocol.hello import Hello, WorkerHello


class ExecutorHolder(Holder):
    """One executor of a worker, as a holder of leases; it has its own connection."""

    __slots__ = ("connection", "ended", "index", "reads_states", "request", "session")

    def __init__(self, session: WorkerSession, index: int) -> None:
        super().__init__(f"{session.name}/{index}", session)
        self.session = session
        self.index = index
        self.connection: ServerConnection | None = None
        self.request: Request | None = None
        """The executor's exchange that the master is answering, which may be parked."""
        self.ended = False
        """Whether the supervisor has reported that the executor's process has ended."""
        self.reads_states = False
        """Whether the executor can read in which state each dependency of a task has ended."""

    @property
    def labels(self) -> frozenset[str]:
        """The labels of its worker."""
        return self.session.labels

    @property
    def pool(self) -> str:
        """The pool of its worker."""
        return self.session.pool

    @property
    def slots(self) -> int:
        """The slots of its worker."""
        return self.session.slots

    @property
    def occupied_slots(self) -> int:
        """How many of its worker's slots the tasks that it holds take."""
        costs = (task.envelope.cost for task in self.held.values())
        return max(costs, default=0) if self.executor_slots == 1 else sum(costs)

    def free_slots(self) -> int:
        """How many of its worker's slots are free."""
        return self.session.slots - self.session.occupied_slots


class WorkerSession:
    """One worker, from its first `hello` to the end of its leases."""

    __slots__ = (
        "accept",
        "beat",
        "busy",
        "connected_at",
        "connection",
        "draining",
        "executors",
        "host",
        "key",
        "labels",
        "lease_until_at",
        "memory_bytes",
        "memory_limit_bytes",
        "name",
        "pid",
        "plain",
        "pool",
        "python",
        "queues",
        "seen_at",
        "slots",
        "stacks",
        "stops",
        "tasks",
        "unknown",
        "unsigned",
        "version",
    )

    def __init__(self, key: str, lease_until_at: float) -> None:
        self.key = key
        self.lease_until_at = lease_until_at
        self.connection: ServerConnection | None = None
        self.executors: dict[int, ExecutorHolder] = {}
        self.name = key
        self.pool = "default"
        self.host = ""
        self.version = ""
        self.slots = 0
        self.busy = 0
        self.queues: tuple[Queue[Task], ...] | None = None
        """The queues that the worker serves, None for all work queues."""
        self.plain = False
        self.tasks = False
        self.labels: frozenset[str] = NO_LABELS
        """The labels that the worker has and tasks may require."""
        self.accept = ""
        """Its DISTQ_ACCEPT; '' for a worker of an earlier version."""
        self.unsigned = ""
        """Whether it runs unsigned payloads, `accept` or `refuse`; '' for a worker of an earlier version."""
        self.unknown = UnknownNames()
        """Task names that the worker does not know, because it has no such function, until they are tried again."""
        self.draining = False
        self.beat: Heartbeat | None = None
        """The heartbeat that waits until the master has something to send to the worker."""
        self.stops: list[tuple[int, int]] = []
        """Tasks, by key and delivery, that the worker shall stop; the next heartbeat's reply names them."""
        self.stacks: list[tuple[int, int]] = []
        """Tasks, by key and delivery, whose stacks the worker shall report; the next heartbeat's reply names them."""
        self.pid = 0
        self.python = ""
        self.connected_at = lease_until_at
        self.seen_at = lease_until_at
        self.memory_bytes: int | None = None
        self.memory_limit_bytes: int | None = None

    def stop(self, cycle: Cycle, task_key: int, delivery: int) -> None:
        """Have the worker stop a task that it runs or has not begun yet."""
        self.stops.append((task_key, delivery))
        self.answer_beat(cycle)

    def answer_beat(self, cycle: Cycle) -> None:
        """Reply to the waiting heartbeat, if there is one."""
        beat, self.beat = self.beat, None
        if beat is not None:
            cycle.forget(beat)
            beat.reply()

    @property
    def occupied_slots(self) -> int:
        """How many of the worker's slots are taken."""
        return sum(executor.occupied_slots for executor in self.executors.values())

    @property
    def open_slots(self) -> int:
        """Slots of executors that are connected or hold tasks; an executor that ends or has not started adds none."""
        return sum(
            executor.executor_slots for executor in self.executors.values() if executor.connection or executor.held
        )

    def serves(self, queue: Queue[Task]) -> bool:
        """Whether the worker serves a queue."""
        return queue.role == WORK if self.queues is None else queue in self.queues

    def knows(self, name: str) -> bool:
        """Whether the worker runs tasks of this name, as far as the master knows; PLAIN is the name of plain items."""
        return self.plain if name == PLAIN else self.tasks and name not in self.unknown

    def wanted(self, name: str) -> bool:
        """Whether the worker runs tasks of this name and is not draining."""
        return not self.draining and self.knows(name)

    def introduce(self, hello: Hello, worker: WorkerHello, queues: tuple[Queue[Task], ...] | None) -> None:
        """Copy the facts of a `hello` about the worker."""
        self.name = hello.name or self.key
        self.version = hello.version
        self.python = hello.python
        self.pool = worker.pool
        self.host = worker.host
        self.pid = worker.pid
        self.slots = worker.slots
        self.plain = worker.plain
        self.tasks = worker.tasks
        self.queues = queues
        self.labels = frozenset(worker.labels)
        self.accept = worker.accept
        self.unsigned = worker.unsigned


class Heartbeat(CallRequest):
    """A heartbeat to which the master has not replied yet."""

    __slots__ = ("session",)

    def __init__(self, connection: ServerConnection, session: WorkerSession) -> None:
        super().__init__(connection)
        self.session = session

    def reply(self) -> None:
        """Reply with the tasks that the worker shall stop, and the tasks whose stacks it shall report."""
        session = self.session
        stops, session.stops = session.stops, []
        stacks, session.stacks = session.stacks, []
        self.connection.reply(returned(write_answer(stops, stacks)))

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.session.beat = None
        self.reply()


def may_take(sessions: Iterable[WorkerSession], queue: Queue[Task], ready_list: PriorityList[Task]) -> bool:
    """Whether a worker may take tasks of a priority list; standard-library programs may take plain items too."""
    return ready_list.name == PLAIN or any(
        session.serves(queue)
        and ready_list.requires <= session.labels
        and ready_list.cost <= session.slots
        and session.wanted(ready_list.name)
        for session in sessions
    )
