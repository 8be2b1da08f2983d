"""One sentence that explains why a task does not run, from the ledger's state and the connected workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from distq.core.option_values import PLAIN, executor_label, kinds_required
from distq.core.plurals import counted
from distq.core.queue import RESULT
from distq.core.states import CANCELLED, DEAD, DELAYED, HELD, LEASED, READY, STATE_NAMES
from distq.core.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable


class WorkerCapacity(NamedTuple):
    """Counts of the connected workers for one task; each count of workers is a part of the count before it."""

    workers: int
    serving: int
    """Connected workers that serve the task's queue."""
    knowing: int
    """Workers among `serving` that run tasks of this kind and have not released a task of this name as unknown."""
    of_kind: int
    """Workers among `knowing` whose executors are of the kind that the task requires; all, if it requires none."""
    able: int
    """Workers among `of_kind` that have the other labels which the task requires."""
    large: int
    """Workers among `able` that have as many slots as the task takes."""
    taking: int
    """Workers among `large` that accept tasks; a worker that drains accepts none."""
    slots: int
    """Slots of the workers in `taking`."""
    busy: int
    """Number of `slots` that are not free: they run a task or have no executor."""
    free: int
    """The largest number of free slots at one worker in `taking`."""
    absent: int = 0
    """Slots without an executor: the worker is replacing the executor, or the executor has not started yet."""
    released: str = ""
    """Name of one of the workers in `serving` that have released a task of this name as unknown; '' if none has."""
    released_because: str = ""
    """The reason that this worker gave."""


def explain(
    task: Task,
    capacity: WorkerCapacity,
    instant_text: Callable[[float], str],
    now: float,
    pending: int = 0,
    refusal: str = "",
) -> str:
    """Say why the task does not run now, or that it runs or has ended.

    `instant_text` formats an instant for people. `pending` is the number of dependencies that have not ended, `refusal`
    the store's text if it refuses what the task's executor has settled.
    """
    if task.state == LEASED:
        return _leased(task, now, refusal)
    if task.state == DELAYED:
        return _delayed(task, instant_text, now)
    if task.state == HELD and pending:
        return f"It depends on other tasks, of which {_these(pending)} not ended."
    if task.state == HELD:
        limit = task.constraints.concurrency
        concurrency_key = task.constraints.concurrency_key
        return (
            f"Its concurrency key {concurrency_key!r} is at its limit: at most {counted(limit, 'task')} of the key may "
            "be in flight."
        )
    if task.state == READY:
        return _queue(task, instant_text, now) or _workers(task, capacity)
    return _ended(task, now)


def lacking(task: Task, capacity: WorkerCapacity) -> str:
    """Why no connected worker can ever run this ready task; '' if one can."""
    return _workers(task, capacity) if task.state == READY and not capacity.large else ""


def _ended(task: Task, now: float) -> str:
    """How and why the task has ended; before a success or an expiry a cause, such as a loss, is history."""
    ended = f"It has ended: {STATE_NAMES[task.state]} {_ago(now - task.state_since_at)}"
    if not task.causes:
        return f"{ended}."
    cause = task.causes[-1]
    if task.state == DEAD:
        return f"{ended}: {cause}. `distq dead retry` retries it."
    if task.state == CANCELLED:
        return f"{ended}: {cause}."
    return f"{ended}. Before that, an attempt ended: {cause}."


def _leased(task: Task, now: float, refusal: str) -> str:
    if refusal:
        return f"The store refuses what its executor has settled, and the master tries again: {refusal}"
    holder_label = "an executor from before the master's restart" if task.holder is None else task.holder.label
    return f"It runs: {holder_label} leased it {_ago(now - task.leased_at)}, attempt {task.attempt}."


def _delayed(task: Task, instant_text: Callable[[float], str], now: float) -> str:
    until = f"until {instant_text(task.due_at)}, {_seconds(max(task.due_at - now, 0.0))} from now"
    if task.failures:
        cause = f", after {task.causes[-1]}" if task.causes else ""
        return f"It waits {until} for attempt {task.attempt}{cause}."
    return f"It is delayed {until}, as its submit requested."


def _queue(task: Task, instant_text: Callable[[float], str], now: float) -> str:
    """Why the policy of the task's queue does not allow a lease now; '' if the policy allows it."""
    queue, name = task.envelope.queue, task.envelope.name
    policy = queue.policy
    if policy.paused:
        return f"Its queue {queue.name!r} is paused. `distq resume --queue {queue.name}` resumes it."
    if name in policy.paused_names:
        command = f"`distq resume --queue {queue.name} --name {name}`"
        return f"Tasks {name!r} are paused on its queue. {command} resumes them."
    if policy.running is not None and queue.running >= policy.running:
        return (
            f"Its queue {queue.name!r} is at its limit: at most {counted(policy.running, 'task')} may be in flight. "
            f"`distq queue set {queue.name} --running N` changes the limit."
        )
    if queue.rate_window is not None and not queue.rate_window.allowance(now):
        opens_at = queue.rate_window.opens_at() or now
        return (
            f"Its queue {queue.name!r} is at its rate {policy.rate}; the next lease is at {instant_text(opens_at)}. "
            f"`distq queue set {queue.name} --rate RATE` changes the rate."
        )
    return ""


def _workers(task: Task, capacity: WorkerCapacity) -> str:
    """Why no worker takes this ready task, or that a worker takes it now."""
    envelope = task.envelope
    queue, ready = envelope.queue.name, envelope.queue.counts[READY]
    if envelope.kind == PLAIN and envelope.queue.role == RESULT:
        return f"It waits on the result queue {queue!r} until a program takes it."
    absent = f", {capacity.absent:,} of them without an executor now" if capacity.absent else ""
    kinds = kinds_required(envelope.requires)
    executors = f"executors of kind {' and '.join(kinds)}"
    such = f"with its function and {executors}" if kinds else "with its function"
    labels = ", ".join(sorted(envelope.requires - {executor_label(one) for one in kinds}))
    slots = counted(envelope.cost, "slot")
    reasons = (
        (capacity.workers, "No worker is connected. `distq worker` starts one."),
        (
            capacity.serving,
            f"Of {counted(capacity.workers, 'worker')} none serves the queue {queue!r} (DISTQ_QUEUES).",
        ),
        (
            capacity.knowing,
            f"Of {counted(capacity.serving, 'worker')} of its queue none {_knows(task, capacity)}",
        ),
        (
            capacity.of_kind,
            f"Of {counted(capacity.knowing, 'worker')} with its function none has {executors} (DISTQ_EXECUTOR).",
        ),
        (
            capacity.able,
            f"Of {counted(capacity.of_kind, 'worker')} {such} none has the labels {labels} (DISTQ_LABELS).",
        ),
        (
            capacity.large,
            (
                f"It takes {slots}, and no worker that could run it has {envelope.cost:,} "
                "(DISTQ_CONCURRENCY; with executors of kind thread DISTQ_EXECUTOR_TASKS too)."
            ),
        ),
        (capacity.taking, "Every worker that could run it is draining."),
        (
            capacity.busy < capacity.slots,
            f"No slot is free, of {capacity.slots:,} that could run it{absent}; ready tasks of its queue: {ready:,}.",
        ),
        (
            envelope.cost == 1 or capacity.free >= envelope.cost,
            (f"It takes {slots}, and a worker has at most {capacity.free:,} free; the tasks behind it wait too."),
        ),
    )
    now = f"A worker leases it now; free slots: {capacity.slots - capacity.busy:,} of {capacity.slots:,}."
    return next((sentence for there_is_one, sentence in reasons if not there_is_one), now)


def _knows(task: Task, capacity: WorkerCapacity) -> str:
    """The end of the sentence that no worker runs a task's function: why not, and what to do."""
    name = task.envelope.name
    if task.envelope.kind == PLAIN:
        return "runs plain items (DISTQ_PLAIN_HANDLER)."
    if not capacity.released:
        return f"knows a task {name!r} (DISTQ_TASKS): each has a plain handler and no modules."
    because = capacity.released_because or "it does not know the name"
    return (
        f"knows a task {name!r} (DISTQ_TASKS). Worker {capacity.released} says: {because.rstrip('.')}. A worker "
        "imports its modules once: restart workers that began before the function was added or renamed."
        f"{_with_colon(name)}"
    )


def _with_colon(name: str) -> str:
    module, _, function = name.rpartition(".")
    if not module or ":" in name:
        return ""
    return f" The path of a function has a colon before its name: '{module}:{function}'."


def _these(count: int) -> str:
    return "one has" if count == 1 else f"{count:,} have"


def _ago(seconds: float) -> str:
    return f"{_seconds(seconds)} ago"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
