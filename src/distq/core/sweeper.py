"""The sweeper: it decides the changes that are due, such as expiries, ends of delays, and drops of results."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Final

from distq.core import dead_letters, moves
from distq.core.changes import Change
from distq.core.dependencies import UPSTREAM, becomes_dead_letter, upstream_error, upstream_failure
from distq.core.states import DELAYED, HELD, LEASED, LIVE_STATES, READY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.dead_letters import DeadLetterLimits
    from distq.core.lease_journal import LeaseJournal
    from distq.core.pending import PendingChanges
    from distq.core.queue_policies import QueuePolicies
    from distq.core.state import LedgerState
    from distq.core.task import Task

EXPIRING_STATES: Final = frozenset((READY, DELAYED, HELD))
"""States in which a task expires; a leased task expires if it is released."""


class Sweeper:
    """Checks a ledger's deadlines in each cycle."""

    def __init__(
        self,
        state: LedgerState,
        pending: PendingChanges,
        journal: LeaseJournal,
        policies: QueuePolicies,
        dead_letter_limits: DeadLetterLimits,
    ) -> None:
        self._state = state
        self._pending = pending
        self._changes = pending.changes
        self._journal = journal
        self._policies = policies
        self._dead_letters = dead_letter_limits
        self._apart: set[int] = set()
        """Keys of tasks for which a request decides what is due, because the store has refused that."""

    def sweep(self, now: float, most: int = 10_000) -> None:
        """Decide what is due at `now`: tasks expire, delayed tasks become ready, at most `most` results are dropped."""
        state = self._state
        for deadlines, event in ((state.expiring, moves.EXPIRE), (state.delayed, moves.DUE)):
            postponed: list[tuple[float, Task]] = []
            for at, task in deadlines.due(now):
                if task.task_key in self._changes:
                    postponed.append((at, task))
                elif task.task_key in self._apart:
                    continue
                elif event == moves.DUE or task.state != LEASED:  # a leased task expires if it is released
                    self._changes[task.task_key] = Change(event, task)
            for at, task in postponed:
                deadlines.add(at, task)
        self._sweep_failed_upstream(most)
        self._pending.leases_to_store += self._journal.due(now)
        self._policies.expire_spent(now)
        self._sweep_retained(now, most)

    def _sweep_failed_upstream(self, most: int) -> None:
        """Decide that tasks with a failed dependency become dead letters or are cancelled."""
        for task in islice(self._state.dependencies.failed_upstream.values(), most):
            if task.task_key not in self._changes and task.task_key not in self._apart:
                self._changes[task.task_key] = self._upstream_change(task)

    def _upstream_change(self, task: Task) -> Change:
        cause = upstream_failure(task, self._state.tasks)
        if becomes_dead_letter(task):
            return self._pending.bury(task, upstream_error(cause), cause, UPSTREAM)
        return Change(moves.CANCEL, task, cause=cause)

    def _sweep_retained(self, now: float, most: int) -> None:
        state = self._state
        for task in dead_letters.expired(state.dead, self._dead_letters, now, most):
            self._changes.setdefault(task.task_key, Change(moves.DROP, task, reason=dead_letters.EXPIRED_REASON))
        for task in state.retained.expired(now, most):
            self._changes[task.task_key] = Change(moves.DROP, task)  # no other event can happen to it
            if (most := most - state.stream_parts.row_count(task.task_key)) <= 0:
                break

    # -- apart -----------------------------------------------------------------------------------

    def set_apart(self, now: float) -> list[Task]:
        """Leave what is due at `now`, besides drops, to a request, which must call `decide_apart`; returns the tasks.

        The caller undoes the decisions that this makes.
        """
        self.sweep(now)
        failed = self._state.dependencies.failed_upstream
        tasks = [
            change.task
            for task_key, change in self._changes.items()
            if change.event in (moves.DUE, moves.EXPIRE) or task_key in failed
        ]
        self._apart.update(task.task_key for task in tasks)
        return tasks

    def decide_apart(self, tasks: Iterable[Task], now: float) -> bool:
        """Decide what is due for tasks that were set apart; False if another decision about one of them is pending."""
        is_complete = True
        for task in tasks:
            if task.task_key in self._changes:
                is_complete = False
            elif task.task_key in self._state.dependencies.failed_upstream:
                self._changes[task.task_key] = self._upstream_change(task)
            elif task.expires_at is not None and task.expires_at <= now and task.state in EXPIRING_STATES:
                self._changes[task.task_key] = Change(moves.EXPIRE, task)
            elif task.state == DELAYED and task.due_at <= now:
                self._changes[task.task_key] = Change(moves.DUE, task)
        return is_complete

    def end_apart(self, tasks: Iterable[Task]) -> None:
        """Sweep these tasks again."""
        for task in tasks:
            self._apart.discard(task.task_key)
            if task.expires_at is not None and task.state in LIVE_STATES:
                self._state.expiring.add(task.expires_at, task)  # the sweep may have left it out meanwhile

    def shift_clock(self, by_s: float) -> None:
        """Follow the clock, which was set by `by_s`: rates and the ages of leases are durations, not instants."""
        self._pending.leases_to_store += self._journal.due(math.inf)
        self._policies.shift_clock(by_s)

    def next_deadline(self) -> float | None:
        """When `sweep` next has something to decide, None if no task waits for an instant."""
        state = self._state
        failed = state.dependencies.failed_upstream
        if failed and not (self._apart and self._apart.issuperset(failed)):
            return -math.inf
        instants = [
            at
            for at in (
                state.delayed.next_at(),
                state.expiring.next_at(),
                state.retained.next_at(),
                self._journal.next_at(),
                dead_letters.next_at(state.dead, self._dead_letters) if state.dead else None,
            )
            if at is not None
        ]
        if self._policies.limited:
            instants += [at for at in self._policies.opens_at() if at is not None]
        return min(instants) if instants else None
