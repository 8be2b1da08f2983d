"""The tasks of HTTP clients: requests of the cycle whose replies are futures, which the HTTP side awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from distq.core.errors import DistqError, TaskExists, Undecided
from distq.core.failure import Failure, read_failure
from distq.core.head import unpack_dead
from distq.core.idempotency import idempotency_of
from distq.core.plurals import counted
from distq.core.states import CANCELLED, DEAD, LEASED, LIVE_STATES, SUCCEEDED
from distq.core.task import Owner, Task
from distq.core.task_ids import id_text
from distq.master.admin.inspection import capacity_for, described
from distq.master.cycle.request_guard import InternalError
from distq.master.cycle.requests import Request
from distq.master.sessions.worker_session import ExecutorHolder
from distq.protocol.submit import REPLACE, RETURN, instants, read_entry
from distq.tasks.sealed import shown_content
from distq.web.task_service import AcceptedTask, FoundTask
from distq.wire.errors import BadCall, NoSuchTask
from distq.wire.inert import read_inert

if TYPE_CHECKING:
    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.workers import Workers
    from distq.protocol.submit import SubmitEntry
    from distq.web.task_order import TaskOrder

T = TypeVar("T")

CAUSE: Final = "by a client over HTTP"
FAILURE_BYTES_MAX: Final = 1 << 20
"""Maximum bytes of a failure that is read; of a larger one only the size is shown."""


class IdempotencyKeyReused(DistqError):
    """A submit has the idempotency key of an earlier one that asked for something else; the master took no task."""

    code = "IDEMPOTENCY_KEY_REUSED"
    hint = "Make a new key for each task, and send it again only with the same request."


class CannotCancel(DistqError):
    """The task cannot be cancelled in its present state."""

    code = "CANNOT_CANCEL"


class MasterEnding(DistqError):
    """The master ends, and takes no more requests."""

    code = "MASTER_ENDING"
    hint = "Repeat the request with the same idempotency key when a master runs again."


class HttpTasks:
    """Answers the HTTP side; `distq.web.task_service.TaskService` declares its methods."""

    def __init__(self, cycle: Cycle, workers: Workers) -> None:
        self.workers = workers
        self.deciding: dict[str, SubmitHttpTask] = {}
        """Submits in the present commit, by idempotency key."""
        self.owner = Owner()
        """Receives the ends of the tasks for which requests wait."""
        self.waiting: dict[int, dict[FindTask, None]] = {}
        """Requests that wait for the end of a task, by its key."""
        self.is_ending = False
        self._cycle = cycle

    def submit(self, order: TaskOrder) -> asyncio.Future[AcceptedTask]:
        """Submit a task; the future has its result once the task is stored. Raises DistqError."""
        try:
            now = self._cycle.clock.now()
            entry = read_entry(
                self._cycle.ledger.registry, order.envelope, order.when, order.constraints, now, order.key_name
            )
        except (TypeError, ValueError) as error:
            raise BadCall(f"the body is not valid: {error}") from error
        return self._ask(SubmitHttpTask(self, entry, order))

    def find(self, task_key: int, wait_s: float = 0.0) -> asyncio.Future[FoundTask]:
        """Find a task; the future waits at most `wait_s` for its end."""
        return self._ask(FindTask(self, task_key, wait_s))

    def cancel(self, task_key: int, *, running: bool) -> asyncio.Future[FoundTask]:
        """Cancel a task that waits; with `running`, also one that runs."""
        return self._ask(CancelTask(self, task_key, running=running))

    def push(self) -> None:
        """Answer the requests that wait for tasks which have ended; the cycle calls this before owners are emptied."""
        for task in self.owner.outbox:
            for request in list(self.waiting.get(task.task_key, ())):
                request.leave(self._cycle)
                self._cycle.ask(request)

    def end(self) -> None:
        """Answer the requests that wait with their tasks as they are, and take no more: the master ends."""
        self.is_ending = True
        now = self._cycle.clock.now()
        for request in [request for requests in self.waiting.values() for request in requests]:
            self._cycle.expire(request, now)

    def _ask(self, request: HttpRequest[T]) -> asyncio.Future[T]:
        if self.is_ending:
            raise MasterEnding("this master ends.")
        self._cycle.ask(request)
        return request.future


class HttpRequest(Request, Generic[T]):
    """A request that gets one reply: the result of its future, or a DistqError."""

    __slots__ = ("future", "tasks")

    def __init__(self, tasks: HttpTasks) -> None:
        super().__init__()
        self.tasks = tasks
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        """The reply; a client that leaves cancels it."""

    def reply(self, result: T) -> None:
        """Reply, unless the client has left."""
        if not self.future.done():
            self.future.set_result(result)

    def refuse(self, exc: DistqError) -> None:  # noqa: D102 - as Request
        if not self.future.done():
            self.future.set_exception(exc)

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)

    def give_up(self) -> None:  # noqa: D102
        self.refuse(InternalError("the master failed at this request."))

    def task(self, cycle: Cycle, task_key: int) -> Task:
        """The task with this key; raises NoSuchTask."""
        task = cycle.ledger.state.tasks.get(task_key)
        if task is None:
            raise NoSuchTask(f"the master does not know task {id_text(task_key)} (any more).")
        return task

    def facts(self, cycle: Cycle, task: Task, now: float) -> dict[str, Any]:
        """The facts about a task."""
        return described(cycle, task, capacity_for(self.tasks.workers, task), now)


class SubmitHttpTask(HttpRequest[AcceptedTask]):
    """Submits one task, unless an earlier submit had the same idempotency key."""

    __slots__ = ("accepted", "entry", "idempotency", "payload")

    def __init__(self, tasks: HttpTasks, entry: SubmitEntry, order: TaskOrder) -> None:
        super().__init__(tasks)
        self.entry = entry
        self.payload = order.payload
        self.idempotency = order.idempotency
        self.accepted: AcceptedTask | None = None

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return 1, len(self.payload)

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102
        earlier = self._earlier(cycle)
        if earlier is not None:
            self.accepted = AcceptedTask(earlier.task_key, is_new=False)
            return True
        if self.idempotency is not None and self.idempotency.key in self.tasks.deciding:
            return False
        ledger, (envelope, _, when, constraints, conflict) = cycle.ledger, self.entry
        unique_key = constraints.unique_key
        try:
            other = ledger.holder_of_unique(envelope.queue, unique_key, now) if unique_key else None
        except Undecided:
            return False
        if other is not None:
            if conflict != REPLACE:
                envelope.counters.count(envelope.counters.rejected, "unique")
                self.accepted = self._conflict(other, unique_key, conflict)
                return True
            ledger.cancel(other.task_key, "replaced by a newer submit")
        ledger.check_room(envelope, 1)
        due_at, expires_at = (0.0, None) if when is None else instants(when, now)
        task_key = ledger.submit(
            envelope, (self.payload,), None, now, due_at=due_at, expires_at=expires_at, constraints=constraints
        )
        self.accepted = AcceptedTask(task_key, is_new=True)
        if self.idempotency is not None:
            self.tasks.deciding[self.idempotency.key] = self
        return True

    def _earlier(self, cycle: Cycle) -> Task | None:
        """The task of an earlier submit with the idempotency key, None for none; raises IdempotencyKeyReused."""
        task = None if self.idempotency is None else cycle.ledger.state.idempotent.get(self.idempotency.key)
        if task is not None and idempotency_of(task) != self.idempotency:
            raise IdempotencyKeyReused(
                f"the idempotency key belongs to task {id_text(task.task_key)}, which another request has submitted."
            )
        return task

    def _conflict(self, other: Task, unique_key: str, conflict: str) -> AcceptedTask:
        if conflict == RETURN:
            return AcceptedTask(other.task_key, is_new=False)
        error = TaskExists(f"task {id_text(other.task_key)} of the queue has the unique key {unique_key!r}.")
        error.task_id = id_text(other.task_key)
        raise error

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        accepted = self.accepted
        self.undo()
        assert accepted is not None
        self.reply(accepted)

    def undo(self) -> None:  # noqa: D102
        self.accepted = None
        if self.idempotency is not None and self.tasks.deciding.get(self.idempotency.key) is self:
            del self.tasks.deciding[self.idempotency.key]

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.undo()
        self.refuse(exc)


class FindTask(HttpRequest[FoundTask]):
    """Replies with a task, when it has ended or when the wait for that is over."""

    __slots__ = ("task_key", "wait_s")

    def __init__(self, tasks: HttpTasks, task_key: int, wait_s: float) -> None:
        super().__init__(tasks)
        self.task_key = task_key
        self.wait_s = wait_s

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        if self.future.done():
            return
        task = self.task(cycle, self.task_key)
        if task.state not in LIVE_STATES:
            cycle.read(self, [self.task_key], lambda bodies: self._reply_end(cycle, bodies[0], now))
            return
        if self.until_at is None:
            self.until_at = now + self.wait_s
        if self.until_at <= now or self.tasks.is_ending:
            self.reply(FoundTask(self.facts(cycle, task, now), has_ended=False))
            return
        cycle.ledger.state.subscribe(task, self.tasks.owner)
        self.tasks.waiting.setdefault(self.task_key, {})[self] = None
        self.future.add_done_callback(lambda _: self.leave(cycle))
        cycle.park_idle(self)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        self.leave(cycle)
        self.until_at = now
        self.answer(cycle, now)

    def leave(self, cycle: Cycle) -> None:
        """End the wait: the task has ended, the time is over, or the client has left."""
        cycle.forget(self)
        waiting = self.tasks.waiting.get(self.task_key)
        if waiting is not None:
            waiting.pop(self, None)
            if not waiting:
                del self.tasks.waiting[self.task_key]

    def _reply_end(self, cycle: Cycle, body: bytes | None, now: float) -> None:
        task = cycle.ledger.state.tasks.get(self.task_key)
        if task is None or task.state in LIVE_STATES:  # dropped, or a dead letter that was retried, during the read
            self.answer(cycle, now)
            return
        facts, failure = self.facts(cycle, task, now), None
        if task.state == DEAD and body is not None:
            dead = unpack_dead(body)
            facts["causes"] = facts["causes"] or list(dead.causes)
            failure = _failure(dead.error)
        result = (shown_content(body) or body) if task.state == SUCCEEDED and body is not None else None
        self.reply(FoundTask(facts, has_ended=True, result=result, failure=failure))


class CancelTask(HttpRequest[FoundTask]):
    """Cancels one task."""

    __slots__ = ("running", "stop", "task_key")

    def __init__(self, tasks: HttpTasks, task_key: int, *, running: bool) -> None:
        super().__init__(tasks)
        self.task_key = task_key
        self.running = running
        self.stop: tuple[ExecutorHolder, int] | None = None
        """The executor that runs the task, which shall stop it after the commit, and the delivery."""

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        task = self.task(cycle, self.task_key)
        self.stop = None
        if task.state == CANCELLED:
            return True
        decided = cycle.ledger.cancel(self.task_key, CAUSE, running=self.running)
        if decided is None:
            return False
        if not decided:
            raise CannotCancel(
                f"task {id_text(self.task_key)} "
                + ("runs; ?running=true stops it." if task.state == LEASED else "has ended already.")
            )
        if task.state == LEASED and isinstance(task.holder, ExecutorHolder):
            self.stop = task.holder, task.delivery
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        if self.stop is not None:
            holder, delivery = self.stop
            holder.session.stop(cycle, self.task_key, delivery)
        task = self.task(cycle, self.task_key)
        self.reply(FoundTask(self.facts(cycle, task, now), has_ended=task.state not in LIVE_STATES))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


def _failure(error: bytes) -> Failure | None:
    """The failure in a dead letter, without the exception itself; None if the executor reported none."""
    if not error:
        return None
    if len(error) > FAILURE_BYTES_MAX:
        return Failure("large", f"an error of {counted(len(error), 'byte')}")
    try:
        content = shown_content(error)
        if content is None:
            return Failure("encrypted", "a client with DISTQ_ENCRYPTION_KEY reads the error")
        failure = read_failure(content, read_inert)
    except (BadCall, TypeError, ValueError):
        return Failure("unreadable", f"not an error: {counted(len(error), 'byte')}")
    return Failure(_text(failure.kind), _text(failure.text), _text(failure.remote_traceback))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
