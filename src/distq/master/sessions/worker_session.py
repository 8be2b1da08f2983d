"""One worker at the master: its session, its executors, and its heartbeat that waits for an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distq.core.envelope import NO_LABELS, PLAIN
from distq.core.queue import WORK
from distq.core.task import Holder
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.unknown_names import UnknownNames
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList
    from distq.master.cycle.requests import Cycle, Request
    from distq.net.serve import ServerConnection
    from distq.protocol.hello import Hello, WorkerHello


class ExecutorHolder(Holder):
    """One process of a worker that runs tasks, with its own connection."""

    __slots__ = ("connection", "ended", "index", "reads_states", "request", "session")

    def __init__(self, session: WorkerSession, index: int) -> None:
        super().__init__(f"{session.name}/{index}", session)
        self.session = session
        self.index = index
        self.connection: ServerConnection | None = None
        self.request: Request | None = None
        """Its exchange that is being answered, which may be parked."""
        self.ended = False
        """Whether the supervisor has said that its process has ended."""
        self.reads_states = False
        """Whether it can be told in which state each task before one has ended."""

    @property
    def labels(self) -> frozenset[str]:
        """Those of its worker."""
        return self.session.labels

    @property
    def pool(self) -> str:
        """That of its worker."""
        return self.session.pool

    @property
    def slots(self) -> int:
        """Those of its worker."""
        return self.session.slots

    @property
    def taken(self) -> int:
        """How many of its worker's slots are taken by what it holds."""
        costs = (task.envelope.cost for task in self.held.values())
        return max(costs, default=0) if self.executor_slots == 1 else sum(costs)

    def room(self) -> int:
        """How many of its worker's slots are free for it to take."""
        return self.session.slots - self.session.taken


class WorkerSession:
    """One worker, from its first `hello` to the end of its leases."""

    def __init__(self, key: str, lease_until: float) -> None:
        self.key = key
        self.lease_until = lease_until
        self.connection: ServerConnection | None = None
        self.executors: dict[int, ExecutorHolder] = {}
        self.name = key
        self.pool = "default"
        self.host = ""
        self.version = ""
        self.slots = 0
        self.busy = 0
        self.queues: tuple[Queue, ...] | None = None
        """The queues that it serves, None for all."""
        self.plain = False
        self.tasks = False
        self.labels: frozenset[str] = NO_LABELS
        """What it has that tasks may require."""
        self.unknown = UnknownNames()
        """Names of tasks that it has handed back for want of such a function, until they are tried again."""
        self.draining = False
        self.beat: Heartbeat | None = None
        """The heartbeat that waits for something to say to the worker."""
        self.stops: list[tuple[int, int]] = []
        """Tasks, by key and delivery, that it shall stop and was not told of yet."""
        self.stacks: list[tuple[int, int]] = []
        """Tasks, as those, of which it shall say where they are."""
        self.pid = 0
        self.python = ""
        self.connected_at = lease_until
        self.seen_at = lease_until
        self.memory_bytes: int | None = None
        self.memory_limit_bytes: int | None = None

    def stop(self, cycle: Cycle, key: int, delivery: int) -> None:
        """Have the worker stop a task that it runs, or has not begun yet."""
        self.stops.append((key, delivery))
        self.answer_beat(cycle)

    def answer_beat(self, cycle: Cycle) -> None:
        """Let no heartbeat wait any longer."""
        beat, self.beat = self.beat, None
        if beat is not None:
            cycle.forget(beat)
            beat.say()

    @property
    def taken(self) -> int:
        """How many of its slots are taken."""
        return sum(executor.taken for executor in self.executors.values())

    @property
    def open_slots(self) -> int:
        """How many of its slots have an executor that is there: not one that ends, or has not come up."""
        return sum(
            executor.executor_slots for executor in self.executors.values() if executor.connection or executor.held
        )

    def wanted(self, name: str) -> bool:
        """Whether it runs tasks of this name, and takes any now."""
        if self.draining:
            return False
        return self.plain if name == PLAIN else self.tasks and name not in self.unknown

    def introduce(self, hello: Hello, worker: WorkerHello, queues: tuple[Queue, ...] | None) -> None:
        """Take over what a `hello` says of the worker."""
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


class Heartbeat(CallRequest):
    """A heartbeat that is not answered yet."""

    __slots__ = ("session",)

    def __init__(self, connection: ServerConnection, session: WorkerSession) -> None:
        super().__init__(connection)
        self.session = session

    def say(self) -> None:
        """Reply with the tasks that the worker shall stop, and of which it shall say where they are."""
        session = self.session
        stops, session.stops = session.stops, []
        stacks, session.stacks = session.stacks, []
        self.connection.reply(returned({"abort": stops, "stacks": stacks} if stacks else {"abort": stops}))

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.session.beat = None
        self.say()


def may_take(sessions: Iterable[WorkerSession], queue: Queue, lane: PriorityList) -> bool:
    """Whether some worker may take out of a lane: plain items go to programs of the standard library too."""
    return lane.name == PLAIN or any(
        (queue in session.queues if session.queues is not None else queue.role == WORK)
        and lane.requires <= session.labels
        and lane.cost <= session.slots
        and session.wanted(lane.name)
        for session in sessions
    )
