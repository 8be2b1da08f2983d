"""Decided changes of tasks, and the rows that the store must keep of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from distq.core import head, moves
from distq.core.constraints import NO_CONSTRAINTS, TaskConstraints
from distq.core.dependencies import UPSTREAM
from distq.core.lease_journal import STORED_AFTER_S
from distq.core.option_values import PLAIN
from distq.core.ports import KEEP, Row
from distq.core.states import DELAYED, LEASED, READY
from distq.core.task import Envelope, Task

FAILURES: Final = ("failure", "timeout")
"""Reasons that come from the task's own run; all others concern its executor."""

CAUSES_KEPT: Final = 8
"""Maximum causes of a task that are kept, the newest last."""


class Change(NamedTuple):
    """One decided change of a task: an event of `moves`, and its details."""

    event: int
    task: Task
    body: bytes | None = None
    """The task's new body; for a task that becomes a dead letter, the error of its last attempt."""
    run_s: float = 0.0
    delay_s: float = 0.0
    cause: str = ""
    reason: str = ""
    runs_on: bool = False
    """Whether the holder of the lease may run the task on, although the task ends."""

    @property
    def keeps_place(self) -> bool:
        """Whether concurrency limits count the ended task until its executor has stopped."""
        return self.runs_on and self.task.holder is not None and self.task.lease_bound


class Submitted(NamedTuple):
    """Tasks that one submit added in the present cycle: their heads are equal."""

    envelope: Envelope
    tasks: list[Task]
    submitted_at: float
    due_at: float
    expires_at: float | None
    constraints: TaskConstraints = NO_CONSTRAINTS

    @property
    def is_plain(self) -> bool:
        """Whether they are ready immediately, without constraints and expiry."""
        return self.constraints is NO_CONSTRAINTS and self.expires_at is None and not self.due_at


def rows_of_new(new: Iterable[Submitted], now: float) -> dict[int, Row]:
    """The rows of newly submitted tasks."""
    rows: dict[int, Row] = {}
    for envelope, tasks, at, due_at, expires_at, constraints in new:
        state, ready_at = (DELAYED, due_at) if due_at > now else (READY, at)
        packed = head.pack(envelope, state, 0, 0, 0, at, at, ready_at, expires_at, constraints)
        for task in tasks:
            rows[task.task_key] = (packed, task.body or b"")
    return rows


def row_of_lease(task: Task) -> Row:
    """The row of a leased task whose lease is stored."""
    counters = (task.delivery, task.failures, task.lost)
    times = (task.submitted_at, task.state_since_at, head.RUNS_ON)
    return head.pack(task.envelope, LEASED, *counters, *times, task.expires_at, task.constraints), KEEP


def row_of_change(change: Change, now: float) -> Row:
    """The row of a task as the change makes it at `now`."""
    event, task, body, _, delay_s, _, reason, _ = change
    if event == moves.DROP or (event == moves.SUCCEED and task.envelope.kind == PLAIN):
        return None
    failed = reason in FAILURES
    lost = bool(reason) and not failed and reason != UPSTREAM
    before = (0, 0) if event == moves.REQUEUE else (task.failures, task.lost)
    packed = head.pack(
        task.envelope,
        moves.NEXT[event][task.state],
        task.delivery,
        before[0] + failed,
        before[1] + lost,
        task.submitted_at,
        now,
        head.RUNS_ON if change.keeps_place else now + delay_s,
        None if event == moves.REQUEUE else task.expires_at,
        task.constraints,
    )
    if event == moves.BURY:
        body = head.pack_dead(task.body or b"", body or b"", causes_after(change))
    return packed, KEEP if body is None else body


def row_of_stopped(task: Task) -> Row:
    """The row of an ended task that its executor no longer runs."""
    counters = (task.delivery, task.failures, task.lost)
    times = (task.submitted_at, task.state_since_at, task.state_since_at)
    return head.pack(task.envelope, task.state, *counters, *times, task.expires_at, task.constraints), KEEP


def rows_of(
    new: Iterable[Submitted],
    held: Iterable[Task],
    changes: Mapping[int, Change],
    now: float,
    stopped: Iterable[Task] = (),
) -> dict[int, Row]:
    """The rows of new tasks, of leases that are old enough or lease-bound, of changes, and of tasks that `stopped`.

    A `stopped` task had ended before, and its executor has stopped now.
    """
    rows = rows_of_new(new, now)
    for task in stopped:
        rows[task.task_key] = row_of_stopped(task)
    for task in held:
        old_enough = task.leased_at + STORED_AFTER_S <= now or task.lease_bound
        if task.state == LEASED and old_enough and task.task_key not in changes:
            rows[task.task_key] = row_of_lease(task)
    for key, change in changes.items():
        # A restarted master asks the workers for their leases, and finds due tasks by its clock.
        if change.event not in (moves.RELEASE, moves.DUE):
            rows[key] = row_of_change(change, now)
    return rows


def count_attempt(change: Change) -> None:
    """Count the attempt that ends with this change, in the task and in its counters."""
    task, reason = change.task, change.reason
    counters = task.envelope.counters
    if reason in FAILURES:
        task.failures += 1
        counters.attempts[reason] += 1
    elif reason != UPSTREAM:
        task.lost += 1
        counters.attempts["lost"] += 1
        counters.count(counters.redeliveries, reason)


def causes_after(change: Change) -> list[str]:
    """The task's causes, with the one of this change."""
    known = change.task.causes or []
    return [*known, change.cause][-CAUSES_KEPT:] if change.cause else known
