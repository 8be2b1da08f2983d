"""Requests about single tasks: all facts about a task, why it does not run, and the stack of a running task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from distq.core.constraints import KEY_BYTES_MAX
from distq.core.explain import WorkerCapacity, explain, lacking
from distq.core.head import NAME_BYTES_MAX, unpack_dead
from distq.core.option_values import executor_label, kinds_required
from distq.core.ranges import text
from distq.core.states import DEAD, LEASED, LIVE_STATES, STATE_NAMES, SUCCEEDED
from distq.core.task import Task, delivery_count
from distq.core.task_ids import id_text
from distq.master.admin.dead_letter_filter import learn
from distq.master.admin.task_list import task_keys_in
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.worker_session import ExecutorHolder
from distq.wire.errors import BadCall, NoSuchTask
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.task import Envelope
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.worker_session import WorkerSession
    from distq.master.sessions.workers import Workers
    from distq.net.serve import ServerConnection

STUCK_EXAMINED: Final = 100
STUCK_KINDS: Final = 10
"""Maximum tasks, and kinds of tasks, in one answer to a client: each kind costs a pass over the workers."""
STACK_S: Final = 5.0
"""Seconds within which a worker must report the stack of a task."""


class TaskQuery(CallRequest):
    """A request about one task, by its id, or by its queue and unique key."""

    __slots__ = ("task_key", "unique", "workers")

    def __init__(self, connection: ServerConnection, workers: Workers, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.workers = workers
        self.unique = _unique_in(asked)
        self.task_key = 0
        if self.unique is None:
            (self.task_key,) = task_keys_in([asked.get("id")])

    def task(self, cycle: Cycle) -> Task:
        """Return the task; raises NoSuchTask if the master does not know it."""
        if self.unique is not None:
            queue_name, unique_key = self.unique
            queue = cycle.ledger.registry.queues.get(queue_name)
            # Also a task whose `unique_for` is over: it can be found until the master drops it.
            found = None if queue is None else queue.unique.get(unique_key)
            if found is None:
                raise NoSuchTask(
                    f"the master does not know a task of the queue {queue_name!r} with the unique key "
                    f"{unique_key!r} (any more)."
                )
            self.task_key = found.task_key
        task = cycle.ledger.state.tasks.get(self.task_key)
        if task is None:
            raise NoSuchTask(f"the master does not know task {id_text(self.task_key)} (any more).")
        return task


def _unique_in(asked: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the queue and the unique key in a request, None if it has no unique key; raises BadCall."""
    if asked.get("unique_key") is None:
        return None
    try:
        return text("queue", asked.get("queue"), NAME_BYTES_MAX), text("unique_key", asked["unique_key"], KEY_BYTES_MAX)
    except (TypeError, ValueError) as exc:
        raise BadCall(f"{exc}.") from exc


class ShowTask(TaskQuery):
    """`show`: replies with all facts about a task; with `bodies`, also with the bytes of its arguments and outcome."""

    __slots__ = ("bodies",)

    def __init__(self, connection: ServerConnection, workers: Workers, asked: Mapping[str, Any]) -> None:
        super().__init__(connection, workers, asked)
        self.bodies = asked.get("bodies") is True

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        self.task(cycle)
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        task = cycle.ledger.state.tasks.get(self.task_key)
        if task is None:
            self.refuse(BadCall(f"the master no longer knows task {id_text(self.task_key)}."))
            return

        def reply(bodies: list[bytes | None]) -> None:
            if state == DEAD and task.causes is None:
                learn([task], bodies)
            facts = described(cycle, task, capacity_for(self.workers, task), now)
            self.connection.reply(returned({**facts, **_bodies(state, bodies[0])} if self.bodies else facts))

        state = task.state
        wanted = self.bodies or (state == DEAD and task.causes is None)
        cycle.read(self, [task.task_key] if wanted else [], reply)


class ShowStack(TaskQuery):
    """`stack`: replies with the stack of a running task, as its worker reports it."""

    __slots__ = ("delivery",)

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        task = self.task(cycle)
        holder = task.holder
        if task.state != LEASED or not isinstance(holder, ExecutorHolder):
            pending = cycle.ledger.state.dependencies.pending.get(self.task_key, 0)
            because = explain(task, capacity_for(self.workers, task), instant_text, now, pending)
            raise BadCall(f"task {id_text(self.task_key)} does not run on a worker. {because}")
        self.delivery = task.delivery
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        task = cycle.ledger.state.tasks.get(self.task_key)
        holder = None if task is None else task.holder
        if task is None or task.delivery != self.delivery or not isinstance(holder, ExecutorHolder):
            self.refuse(BadCall(f"task {id_text(self.task_key)} has just ended."))
            return
        self.until_at = now + STACK_S
        cycle.park_idle(self)
        self.workers.ask_for_stack(holder.session, self.task_key, self.delivery, self._reply_stack)

    def _reply_stack(self, cycle: Cycle, stack: str) -> None:
        if self.parked:
            cycle.forget(self)
            self.connection.reply(returned({"stack": stack}))

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.workers.give_up_stack(self.task_key, self.delivery, self._reply_stack)
        self.refuse(BadCall(f"the worker of task {id_text(self.task_key)} has not answered within {STACK_S:g} s."))


def narrowed(workers: Workers, task: Task) -> tuple[list[WorkerSession], ...]:
    """Return the lists of all workers and of those that remain after each condition for running a task.

    The conditions, in order: serve its queue, know its name, have executors of the kind that it requires, have its
    other labels, have enough slots, are not draining.
    """
    sessions = list(workers.sessions.values())
    queue, envelope = task.envelope.queue, task.envelope
    serving = [one for one in sessions if one.serves(queue)]
    knowing = [one for one in serving if one.knows(envelope.name)]
    kinds = {executor_label(kind) for kind in kinds_required(envelope.requires)}
    of_kind = [one for one in knowing if kinds <= one.labels]
    able = [one for one in of_kind if envelope.requires <= one.labels]
    large = [one for one in able if one.slots >= envelope.cost]
    return sessions, serving, knowing, of_kind, able, large, [one for one in large if not one.draining]


def capacity_for(workers: Workers, task: Task) -> WorkerCapacity:
    """Count the workers and slots that could run a task."""
    sessions, serving, knowing, of_kind, able, large, taking = narrowed(workers, task)
    absent = [max(one.slots - one.open_slots, 0) for one in taking]
    free = [max(one.slots - one.occupied_slots - gone, 0) for one, gone in zip(taking, absent, strict=True)]
    slots = sum(one.slots for one in taking)
    numbers = (len(sessions), len(serving), len(knowing), len(of_kind), len(able), len(large), len(taking))
    name = task.envelope.name
    released, because = next(((one.name, one.unknown[name]) for one in serving if name in one.unknown), ("", ""))
    return WorkerCapacity(*numbers, slots, slots - sum(free), max(free, default=0), sum(absent), released, because)


def stuck(cycle: Cycle, workers: Workers, keys: Iterable[int]) -> dict[int, str]:
    """Return why tasks that no connected worker would run wait: one task of each kind, among the first of `keys`."""
    reasons: dict[int, str] = {}
    kinds: set[Envelope] = set()
    for task_key in islice(keys, STUCK_EXAMINED):
        task = cycle.ledger.state.tasks.get(task_key)
        if task is None or task.envelope in kinds or len(kinds) >= STUCK_KINDS:
            continue
        kinds.add(task.envelope)
        if reason := lacking(task, capacity_for(workers, task)):
            reasons[task_key] = reason
    return reasons


def described(cycle: Cycle, task: Task, capacity: WorkerCapacity, now: float) -> dict[str, Any]:
    """Return a task as values that JSON can represent; times are seconds since 1970."""
    envelope, constraints = task.envelope, task.constraints
    return {
        "id": id_text(task.task_key),
        "queue": envelope.queue.name,
        "name": envelope.name,
        "kind": envelope.kind,
        "state": STATE_NAMES[task.state],
        "why": explain(
            task,
            capacity,
            instant_text,
            now,
            cycle.ledger.state.dependencies.pending.get(task.task_key, 0),
            cycle.refused.refusal_of(task.task_key),
        ),
        "priority": envelope.priority,
        "submitted_at": task.submitted_at,
        "since": task.state_since_at,
        "leased_at": task.leased_at if task.state == LEASED else None,
        "due_at": task.due_at or None,
        "expires_at": task.expires_at,
        "holder": None if task.holder is None else task.holder.label,
        "attempt": task.attempt,
        "retries": envelope.retries,
        "failures": task.failures,
        "lost": task.lost,
        "deliveries": delivery_count(task.delivery),
        "time_limit_s": envelope.time_limit_s,
        "requires": sorted(envelope.requires),
        "cost": envelope.cost,
        "concurrency_key": constraints.concurrency_key or None,
        "unique_key": constraints.unique_key or None,
        "after": None
        if constraints.depends_on is None
        else [id_text(constraints.depends_on.first), constraints.depends_on.size],
        "headers": dict(constraints.headers),
        "progress": cycle.ledger.state.progress.get(task.task_key),
        "causes": list(task.causes or ()),
        "caused_at": _times(task.causes or (), cycle.ledger.state.causes_at.get(task.task_key, [])),
    }


def _bodies(state: int, body: bytes | None) -> dict[str, bytes | None]:
    """Return the arguments and the outcome in a task's stored body: None where the master no longer has them."""
    if state == DEAD and body is not None:
        dead = unpack_dead(body)
        return {"payload": dead.arguments, "outcome": dead.error}
    return {"payload": body if state in LIVE_STATES else None, "outcome": body if state == SUCCEEDED else None}


def _times(causes: Sequence[str], known: list[float]) -> list[float | None]:
    """Return the time of each cause, or None for a cause from before a restart."""
    unknown: list[float | None] = [None] * (len(causes) - len(known))
    return [*unknown, *known]


def instant_text(at: float) -> str:
    """Format an instant in UTC for readers in any zone, or as a number if it is outside the calendar's range."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # stored by a version of distq that did not limit instants
        return f"{at:.6g} s after 1970"
