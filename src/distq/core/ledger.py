"""The ledger: every task the master knows, and the only code that decides what becomes of one.

A cycle has three steps. *Decide*: `submit`, `settle`, `lose`, `sweep` look at the tasks as they stand and
note one change a task; nothing moves yet, and what would change a task twice in one cycle is put off to the
next. *Commit*: the broker has the store keep `batch()`. *Apply*: the changes happen, or `forget()` drops them
as if nobody had asked. `lease` comes after that and is never stored: who holds what is found out again by
asking the workers.

There is no I/O here and no clock: `now` is seconds of the master's clock, which steps when the machine's is set.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

from distq.core import dead_letters, head, moves
from distq.core.changes import Change, Row, Submitted
from distq.core.dependencies import UPSTREAM, becomes_dead_letter, upstream_error, upstream_failure
from distq.core.errors import PayloadTooLarge, QueueFull, TasksFull, Undecided
from distq.core.leasing import Leasing
from distq.core.pending import PendingChanges
from distq.core.registry import Defaults, Registry
from distq.core.savepoint import NOTHING_DECIDED, Savepoint
from distq.core.stored_parts import part_number
from distq.core.task import (
    LEASED,
    NO_CONSTRAINTS,
    OUTCOME_NAMES,
    READY,
    Envelope,
    Holder,
    Outcome,
    Owner,
    Task,
    TaskConstraints,
)

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from distq.core.queue import Queue
    from distq.core.retry import Jitter


class Ledger(Leasing):
    """The book, who gives its tasks out, and who decides what becomes of them."""

    def __init__(self, rules: Defaults, jitter: Jitter, first_key: int, names: Registry | None = None) -> None:
        super().__init__(Registry(rules) if names is None else names)
        self.defaults = rules
        self.pending = PendingChanges()
        self._changes = self.pending.changes
        self._jitter = jitter
        self.next_key = first_key
        """The key of the next task; keys only grow."""

    # -- decide --------------------------------------------------------------------------------

    def check_room(self, envelope: Envelope, count: int) -> None:
        """Room for a result is reserved with its task: raises TasksFull if so many more are too many in all."""
        if len(self.tasks) + self.pending.new_count + count > self.defaults.tasks_max:
            envelope.counters.count(envelope.counters.rejected, "kept")
            raise TasksFull(f"the master keeps {len(self.tasks):,} tasks and results, of {self.defaults.tasks_max:,}.")

    def submit(
        self,
        envelope: Envelope,
        bodies: Sequence[bytes],
        owner: Owner | None,
        now: float,
        *,
        due_at: float = 0.0,
        expires_at: float | None = None,
        constraints: TaskConstraints = NO_CONSTRAINTS,
    ) -> int:
        """Take new tasks, all or none, and return the first one's key; the others follow it without gaps.

        They are ready at `due_at`, and are not begun any more from `expires_at` on. A unique key must be free
        (`who_has`), or whoever has it is cancelled in the same cycle, or runs.

        Raises QueueFull or PayloadTooLarge, and then nothing was taken.
        """
        queue = envelope.queue
        if queue.room < len(bodies):
            envelope.counters.count(envelope.counters.rejected, "full")
            raise QueueFull(f"the queue {queue.name!r} has room for {max(queue.room, 0)} of {len(bodies)} tasks")
        limit = self.defaults.payload_bytes_max
        if max(map(len, bodies), default=0) > limit:
            envelope.counters.count(envelope.counters.rejected, "payload")
            raise PayloadTooLarge(f"a payload of {max(map(len, bodies))} bytes; the limit is {limit}")
        first = self.next_key
        self.next_key += len(bodies)
        new = [Task(key, envelope, body, owner, now) for key, body in enumerate(bodies, first)]
        self.pending.submitted.append(Submitted(envelope, new, now, due_at, expires_at, constraints))
        if constraints.unique_key:
            self.pending.claimed.add((queue, constraints.unique_key))
        self.pending.new_count += len(new)
        queue.reserved += len(bodies)
        return first

    def skip_key(self) -> int:
        """A key that nobody gets."""
        self.next_key += 1
        return self.next_key - 1

    def holder_of_unique(self, queue: Queue, unique: str, now: float) -> Task | None:
        """The task that has a unique key, None if it is free; raises Undecided if the present cycle decides that."""
        task = queue.holder_of_unique(unique, now)
        if (queue, unique) in self.pending.claimed or (task is not None and task.task_key in self._changes):
            raise Undecided
        return task

    def unique_rival(self, key: int, now: float) -> Task | None:
        """The task that has a dead letter's unique key instead of it; raises Undecided as `who_has`."""
        task = self.dead.get(key)
        if task is None or not task.constraints.unique_key:
            return None
        other = self.holder_of_unique(task.envelope.queue, task.constraints.unique_key, now)
        return None if other is task else other

    def settle(
        self,
        key: int,
        delivery: int,
        outcome: int,
        body: bytes | None,
        run_s: float,
        cause: str = "",
        after_s: float | None = None,
    ) -> bool:
        """Answer the lease `delivery` of a task; `after_s` is the pause that the task itself has asked for.

        False: the task already changes in this cycle, so the same settle must come again in the next one.
        A late success counts if the task is not settled yet; a late failure or release changes nothing.
        """
        task = self.tasks.get(key)
        if self.orphaned_runs.running:
            self.orphaned_runs.answered(key, delivery)
        if task is None:
            self.unknown_settles += 1
            return True
        if key in self._changes:
            return False
        current = task.state == LEASED and task.delivery == delivery
        if not current:
            task.envelope.counters.count(task.envelope.counters.late, OUTCOME_NAMES[outcome])
            if outcome != Outcome.SUCCESS or moves.NEXT[moves.SUCCEED][task.state] < 0:
                return True
        if outcome == Outcome.SUCCESS:
            self._changes[key] = Change(moves.SUCCEED, task, body, run_s, runs_on=not current)
        elif outcome in (Outcome.RELEASED, Outcome.UNKNOWN):
            self._changes[key] = Change(moves.GIVE_BACK, task)
        elif outcome == Outcome.SNOOZED:
            self._changes[key] = Change(moves.SNOOZE, task, delay_s=after_s or 0.0)
        elif outcome == Outcome.DISCARDED:
            self._changes[key] = Change(moves.CANCEL, task, cause=cause)
        else:
            self._changes[key] = self._after_failure(task, outcome, body or b"", cause, after_s)
        return True

    def note_progress(self, key: int, delivery: int, fraction: float, text: str) -> None:
        """Remember how far a task says that it is, while the lease is the current one; nobody stores that."""
        task = self.tasks.get(key)
        if task is not None and task.state == LEASED and task.delivery == delivery:
            self.progress[key] = (fraction, text)

    def save_part(self, key: int, delivery: int, outcome: int, told: bytes) -> bool:
        """Take in what a task tells of itself while it runs: a cursor, or a part of its stream.

        False: it streams more than it may.
        """
        task = self.tasks.get(key)
        if task is None or task.state != LEASED or task.delivery != delivery:
            return True
        if outcome == Outcome.CHECKPOINT:
            self.extras.save(key, told)
            return True
        number, body = part_number(told)
        return self.extras.add(key, number, body)

    def cancel(self, key: int, cause: str = "", *, running: bool = False) -> bool | None:
        """Have a task never be begun (again); with `running`, also one that runs: whatever it answers is late then.

        None: it changes in this cycle already, so the same must be asked again in the next one. False: it has
        ended, or runs, or is not known.
        """
        task = self.tasks.get(key)
        if task is None or moves.NEXT[moves.CANCEL][task.state] < 0 or (task.state == LEASED and not running):
            return False
        if key in self._changes:
            return None
        self._changes[key] = Change(moves.CANCEL, task, cause=cause, runs_on=task.state == LEASED)
        return True

    def succeeds(self, key: int) -> bool:
        """Whether the present cycle has decided that the task succeeds."""
        return (change := self._changes.get(key)) is not None and change.event == moves.SUCCEED

    def _after_failure(self, task: Task, outcome: int, error: bytes, cause: str, after_s: float | None) -> Change:
        reason = "timeout" if outcome == Outcome.TIMEOUT else "failure"
        if outcome == Outcome.FATAL or task.failures >= task.envelope.retries:
            return self._bury(task, error, cause, reason)
        delay_s = self.defaults.backoff.delay_s(task.failures + 1, self._jitter) if after_s is None else after_s
        return Change(moves.RETRY, task, delay_s=delay_s, cause=cause, reason=reason)

    def _bury(self, task: Task, error: bytes, cause: str, reason: str) -> Change:
        if task.body is None:
            self.pending.unread.append(task)
        return Change(moves.BURY, task, error, cause=cause, reason=reason)

    def lose(
        self,
        holder: Holder,
        reason: str,
        cause: str,
        running: int | None = None,
        begun: Container[int] = (),
        *,
        unexplained: bool = False,
    ) -> bool:
        """End all leases of `holder`, which died or fell silent.

        With `running` (a key) that task alone was being run and is counted as lost; without, each may have been. Those
        of `begun` had ended, and their answers are lost with it: they are counted as well. If it died `unexplained`,
        with nothing begun, what it was given can be to blame: that is counted, but not given up the first time.
        `reason` is a word for the metrics, `cause` a phrase for the task's history. False: ask again in the next cycle.
        """
        complete = True
        self.orphaned_runs.holder_ended(holder)
        for key, task in holder.held.items():
            if key in self._changes:
                complete = False
                continue
            had_begun = running in (None, key) or key in begun
            if not (had_begun or unexplained):
                self._changes[key] = Change(moves.GIVE_BACK, task)
            elif task.lost + 1 >= task.envelope.max_deliveries and (had_begun or task.lost):
                self._changes[key] = self._bury(task, b"", cause, reason)
            else:
                self._changes[key] = Change(moves.LOSE, task, cause=cause, reason=reason)
        return complete

    def detach_holder(self, holder: Holder) -> Holder:
        """Nobody hears of a holder any more: returns who holds those of its tasks now that end with their lease.

        They may still run, and no others may run instead until then; they can be reclaimed meanwhile.
        """
        apart = Holder(holder.label, holder.worker)
        for task in [task for task in holder.held.values() if task.lease_bound]:
            del holder.held[task.task_key]
            task.holder = apart
            apart.held[task.task_key] = task
        self.orphaned_runs.pass_on(holder, apart)
        return apart

    def holds(self, holder: Holder) -> bool:
        """Whether a holder has leases, or may run what has ended."""
        return bool(holder.held or self.orphaned_runs.runs_of(holder))

    def store_leases(self) -> None:
        """Have the present cycle's commit store the leases that were given since the last one and must be stored."""
        self.pending.leases_to_store += self.unstored_leases
        self.unstored_leases.clear()

    def reclaim(self, holder: Holder, key: int, delivery: int) -> bool:
        """Let a reconnected executor go on with a lease that it still holds; False if that lease has ended."""
        task = self.tasks.get(key)
        if task is None or key in self._changes or task.state != LEASED or task.delivery != delivery:
            return False
        if task.holder is not None:
            del task.holder.held[key]
        task.holder = holder
        holder.held[key] = task
        return True

    def settle_dead(self, key: int, event: int) -> bool:
        """Have a dead letter tried again as if it had never failed (REQUEUE), or go (DROP).

        To be tried again its body must be there, and its unique key free (`other_of`). False: it is not dead, or
        changes in this cycle already.
        """
        task = self.dead.get(key)
        if task is None or key in self._changes:
            return False
        if event == moves.REQUEUE and task.constraints.unique_key:
            self.pending.claimed.add((task.envelope.queue, task.constraints.unique_key))
        arguments = head.unpack_dead(task.body or b"").arguments if event == moves.REQUEUE else None
        self._changes[key] = Change(event, task, arguments)
        return True

    def sweep(self, now: float, most: int = 10_000) -> None:
        """Note what is due at `now`: what is too old to be begun expires, delayed tasks get ready, old results go."""
        for deadlines, event in ((self.expiring, moves.EXPIRE), (self.delayed, moves.DUE)):
            held_up: list[tuple[float, Task]] = []
            for at, task in deadlines.due(now):
                if task.task_key in self._changes:
                    held_up.append((at, task))
                elif event == moves.DUE or task.state != LEASED:  # what runs may end; if it comes back, it expires
                    self._changes[task.task_key] = Change(event, task)
            for at, task in held_up:
                deadlines.add(at, task)
        self._sweep_doomed(most)
        self.pending.leases_to_store += self.lease_journal.due(now)
        for queue in self.limited:
            if queue.rate_window is not None:
                queue.rate_window.allowance(now)
        self._sweep_kept(now, most)

    def _sweep_doomed(self, most: int) -> None:
        """End those before which a task has failed."""
        for task in islice(self.dependencies.doomed.values(), most):
            if task.task_key not in self._changes:
                cause = upstream_failure(task, self.tasks)
                self._changes[task.task_key] = (
                    self._bury(task, upstream_error(cause), cause, UPSTREAM)
                    if becomes_dead_letter(task)
                    else Change(moves.CANCEL, task, cause=cause)
                )

    def _sweep_kept(self, now: float, most: int) -> None:
        for task in dead_letters.expired(self.dead, self.defaults, now, most):
            self._changes.setdefault(task.task_key, Change(moves.DROP, task, reason=dead_letters.EXPIRED_REASON))
        for task in self.retained.expired(now, most):
            self._changes[task.task_key] = Change(moves.DROP, task)  # nothing else can happen to it
            if (most := most - self.extras.weight(task.task_key)) <= 0:
                break

    def shift_clock(self, by_s: float) -> None:
        """The clock was set: rates of queues, and leases that are to be stored, count durations and not dates."""
        self.pending.leases_to_store += self.lease_journal.due(math.inf)
        for queue in self.limited:
            if queue.rate_window is not None:
                queue.rate_window.shift(by_s)

    def next_deadline(self) -> float | None:
        """When `sweep` next has something to do, None if nothing is waiting for a moment."""
        if self.dependencies.doomed:
            return -math.inf
        ends = [self.delayed.next_at(), self.expiring.next_at(), self.retained.next_at(), self.lease_journal.next_at()]
        ends += [queue.rate_window.opens_at() for queue in self.limited if queue.rate_window and queue.counts[READY]]
        return min(
            (at for at in (dead_letters.next_at(self.dead, self.defaults), *ends) if at is not None), default=None
        )

    @property
    def changed(self) -> bool:
        """Whether anything was decided since the last `apply` or `forget`."""
        pending = self.pending
        ours = pending.submitted or pending.changes or pending.leases_to_store
        return bool(ours or self.decided_policies or self.extras.changed or self.orphaned_runs.ended_tasks)

    def batch(self, now: float) -> dict[int, Row]:
        """The rows that the store must keep of the decided changes: heads and bodies as `apply(now)` makes them."""
        rows = self.pending.rows(now, self.orphaned_runs.ended_tasks)
        rows.update(self.extras.rows(self._changes))
        rows.update(self.policy_rows())
        return rows

    def savepoint(self) -> Savepoint:
        """What was decided so far in this cycle."""
        pending = self.pending
        if not (pending.submitted or pending.changes or pending.unread or self.decided_policies or self.extras.changed):
            return NOTHING_DECIDED  # as before the only request of a cycle, which nothing shall make slow
        policies = dict(self.decided_policies) if self.decided_policies else None
        lengths = len(pending.submitted), len(pending.changes), len(pending.unread)
        return Savepoint(*lengths, *self.extras.decided, policies)

    def undo(self, before: Savepoint) -> None:
        """Drop what was decided since `before`: the request that asked for it has failed half-way."""
        for event, task, *_ in self.pending.undo(before):
            if event == moves.DUE:
                self.delayed.add(task.due_at, task)
            elif event == moves.EXPIRE:
                assert task.expires_at is not None
                self.expiring.add(task.expires_at, task)
        self.extras.undo(before.cursors, before.parts)
        self.decided_policies.clear()
        self.decided_policies.update(before.decided_policies or {})

    def forget(self) -> None:
        """Drop what was decided: the store refused it, so nothing happened."""
        self.undo(NOTHING_DECIDED)

    def apply(self, now: float) -> None:
        """Make the decided changes."""
        new, changes = self.pending.take()
        self.apply_policies()
        self.apply_changes(new, changes, now)
        if self.orphaned_runs.ended_tasks:
            self.release_orphaned(now)
