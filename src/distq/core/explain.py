"""One sentence that explains why a task does not run, from the ledger's state and the connected workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from distq.core.option_values import PLAIN
from distq.core.states import DEAD, DELAYED, HELD, LEASED, READY, STATE_NAMES
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
    able: int
    """Workers among `knowing` that have the labels which the task requires."""
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


def explain(
    task: Task, capacity: WorkerCapacity, instant_text: Callable[[float], str], now: float, pending: int = 0
) -> str:
    """Say why the task does not run now, or that it runs or has ended.

    `instant_text` formats an instant for people. `pending` is the number of dependencies that have not ended.
    """
    if task.state == LEASED:
        who = "an executor from before the master's restart" if task.holder is None else task.holder.label
        return f"It runs: {who} leased it {_ago(now - task.leased_at)}, attempt {task.attempt}."
    if task.state == DELAYED:
        return _delayed(task, instant_text, now)
    if task.state == HELD and pending:
        return f"It depends on other tasks, of which {_these(pending)} not ended."
    if task.state == HELD:
        limit = task.constraints.concurrency
        concurrency_key = task.constraints.concurrency_key
        return (
            f"Its concurrency key {concurrency_key!r} is at its limit: at most {limit:,} "
            f"{'task' if limit == 1 else 'tasks'} of the key may be in flight."
        )
    if task.state == READY:
        return _queue(task, instant_text, now) or _workers(task, capacity)
    cause = f": {task.causes[-1]}" if task.causes else ""
    again = " `distq dead retry` retries it." if task.state == DEAD else ""
    return f"It has ended: {STATE_NAMES[task.state]} {_ago(now - task.state_since_at)}{cause}.{again}"


def lacking(task: Task, capacity: WorkerCapacity) -> str:
    """Why no connected worker can ever run this ready task; '' if one can."""
    return _workers(task, capacity) if task.state == READY and not capacity.large else ""


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
        return f"Its queue {queue.name!r} is at its limit: {queue.running:,} of at most {policy.running:,} tasks run."
    if queue.rate_window is not None and not queue.rate_window.allowance(now):
        opens_at = queue.rate_window.opens_at() or now
        return f"Its queue {queue.name!r} is at its rate {policy.rate}; the next lease is at {instant_text(opens_at)}."
    return ""


def _workers(task: Task, capacity: WorkerCapacity) -> str:
    """Why no worker takes this ready task, or that a worker takes it now."""
    envelope = task.envelope
    queue, ready = envelope.queue.name, envelope.queue.counts[READY]
    what = "plain items" if envelope.kind == PLAIN else f"a task {envelope.name!r}"
    absent = f", {capacity.absent:,} of them without an executor now" if capacity.absent else ""
    labels = ", ".join(sorted(envelope.requires))
    reasons = (
        (capacity.workers, "No worker is connected. `distq worker` starts one."),
        (capacity.serving, f"Of {capacity.workers:,} workers none serves the queue {queue!r} (DISTQ_QUEUES)."),
        (
            capacity.knowing,
            (
                f"Of {capacity.serving:,} workers of its queue none knows {what} (DISTQ_TASKS, DISTQ_PLAIN_HANDLER)."
                f"{_with_colon(envelope.name)}"
            ),
        ),
        (
            capacity.able,
            f"Of {capacity.knowing:,} workers that know it none has the labels {labels} (DISTQ_LABELS).",
        ),
        (capacity.large, f"It takes {envelope.cost:,} slots, and no worker that knows it has {envelope.cost:,}."),
        (capacity.taking, "Every worker that could run it is draining."),
        (
            capacity.busy < capacity.slots,
            f"No slot is free, of {capacity.slots:,} that could run it{absent}; ready tasks of its queue: {ready:,}.",
        ),
        (
            envelope.cost == 1 or capacity.free >= envelope.cost,
            (
                f"It takes {envelope.cost:,} slots, and a worker has at most {capacity.free:,} free; "
                "the tasks behind it wait too."
            ),
        ),
    )
    now = f"A worker leases it now: {capacity.slots - capacity.busy:,} of {capacity.slots:,} slots are free."
    return next((sentence for there_is_one, sentence in reasons if not there_is_one), now)


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
