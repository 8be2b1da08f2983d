"""The ledger: it decides the changes of all tasks, and applies the decisions of one cycle together.

A cycle has three steps. *Decide*: `submit`, `settle`, `lose` and the sweeper decide at most one change of each task; no
task is changed yet, and a second change of a task waits for the next cycle. *Commit*: the broker stores `batch()`.
*Apply*: `apply` makes the changes; if the store refused them, `forget` drops them as if no request had asked for them.
Then `leasing` leases tasks.

The ledger does no I/O and reads no clock: `now` is seconds of the master's clock, which follows the machine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core import head, moves
from distq.core.changes import Change, Submitted
from distq.core.constraints import NO_CONSTRAINTS, TaskConstraints
from distq.core.errors import PayloadTooLarge, QueueFull, TasksFull, Undecided
from distq.core.leasing import Leasing
from distq.core.outcome import OUTCOME_NAMES, Outcome
from distq.core.pending import PendingChanges
from distq.core.plurals import counted
from distq.core.queue_policies import QueuePolicies
from distq.core.registry import Defaults, Registry
from distq.core.room import check_key_room, check_queue_room
from distq.core.savepoint import NOTHING_DECIDED, Savepoint
from distq.core.state import LedgerState
from distq.core.states import LEASED
from distq.core.stream_parts import part_number
from distq.core.sweeper import Sweeper
from distq.core.task import Envelope, Holder, Owner, Task

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from distq.core.ports import Row
    from distq.core.queue import Queue
    from distq.core.retry import Jitter


class Ledger:
    """The state of all tasks, their leasing, and the decisions of the present cycle."""

    def __init__(self, defaults: Defaults, jitter: Jitter, first_key: int, registry: Registry | None = None) -> None:
        self.defaults = defaults
        self.registry = Registry(defaults) if registry is None else registry
        self.state = LedgerState()
        self.policies = QueuePolicies(self.registry, self.state.ready_queues)
        self.leasing = Leasing(self.state, self.registry, self.policies)
        self.pending = PendingChanges()
        self.sweeper = Sweeper(self.state, self.pending, self.leasing.journal, self.policies, defaults.dead_letters)
        self.next_key = first_key
        """The key of the next task; keys only grow."""
        self.unknown_settles = 0
        """Number of settles of tasks that the ledger does not know."""
        self._jitter = jitter
        self._tasks = self.state.tasks
        self._changes = self.pending.changes
        self._orphaned_runs = self.state.orphaned_runs
        self._new_cursors = self.state.checkpoints.decided
        self._new_parts = self.state.stream_parts.decided

    # -- decide --------------------------------------------------------------------------------

    def check_room(self, envelope: Envelope, count: int, by_queue: Sequence[tuple[Envelope, int]] = ()) -> None:
        """Raise TasksFull if `count` more tasks exceed a limit of tasks and results together.

        `by_queue` has an envelope and the number of the tasks for each queue, if there are several; all have one key.
        """
        if len(self._tasks) + self.pending.new_count + count > self.defaults.tasks_max:
            envelope.counters.count(envelope.counters.rejected, "kept")
            raise TasksFull(
                f"the master keeps {counted(len(self._tasks), 'task')}, with those that have ended; "
                f"the limit is {self.defaults.tasks_max:,} (DISTQ_TASKS_MAX)."
            )
        most = self.defaults.tasks_per_queue_max
        if most is not None:
            for of_queue, queue_count in by_queue or ((envelope, count),):
                check_queue_room(self.registry, of_queue, queue_count, most)
        key_most = self.defaults.tasks_per_key_max
        if key_most is not None:
            check_key_room(self.registry, envelope, count, key_most)

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
        """Accept all new tasks or none; returns the first task's key, which the keys of the others follow without gaps.

        The tasks are ready at `due_at`, and are not leased from `expires_at` on. A unique key must be free
        (`holder_of_unique`), or the task that has it runs or is cancelled in the same cycle.

        Raises QueueFull or PayloadTooLarge, and then takes no task.
        """
        queue = envelope.queue
        if queue.room < len(bodies):
            envelope.counters.count(envelope.counters.rejected, "full")
            raise QueueFull(
                f"the queue {queue.name!r} has room for {max(queue.room, 0)} of {counted(len(bodies), 'task')}"
            )
        limit = self.defaults.payload_bytes_max
        if max(map(len, bodies), default=0) > limit:
            envelope.counters.count(envelope.counters.rejected, "payload")
            raise PayloadTooLarge(f"a payload has {max(map(len, bodies))} bytes; the limit is {limit}")
        first = self.next_key
        self.next_key += len(bodies)
        new = [Task(task_key, envelope, body, owner, now) for task_key, body in enumerate(bodies, first)]
        pending = self.pending
        pending.submitted.append(Submitted(envelope, new, now, due_at, expires_at, constraints))
        if constraints.unique_key:
            pending.claimed.add((queue, constraints.unique_key))
        pending.new_count += len(new)
        queue.reserved += len(bodies)
        envelope.key_tasks.reserved += len(bodies)
        return first

    def skip_key(self) -> int:
        """Take a key that no task has or will have."""
        self.next_key += 1
        return self.next_key - 1

    def holder_of_unique(self, queue: Queue[Task], unique_key: str, now: float) -> Task | None:
        """The task that has a unique key, None if it is free; raises Undecided if the present cycle decides that."""
        task = queue.holder_of_unique(unique_key, now)
        if (queue, unique_key) in self.pending.claimed or (task is not None and task.task_key in self._changes):
            raise Undecided
        return task

    def unique_rival(self, task_key: int, now: float) -> Task | None:
        """The other task that has a dead letter's unique key, None if there is none; raises Undecided."""
        task = self.state.dead.get(task_key)
        if task is None or not task.constraints.unique_key:
            return None
        other = self.holder_of_unique(task.envelope.queue, task.constraints.unique_key, now)
        return None if other is task else other

    def settle(
        self,
        task_key: int,
        delivery: int,
        outcome: int,
        body: bytes | None,
        run_s: float,
        cause: str = "",
        delay_s: float | None = None,
    ) -> bool:
        """Settle the lease `delivery` of a task; `delay_s` is the pause that the task itself asks for.

        False: the task changes in this cycle already, and the caller must repeat the settle in the next cycle.
        A late success counts if the task is not settled yet; a late failure or release changes nothing.
        """
        task = self._tasks.get(task_key)
        if self._orphaned_runs.running:
            self._orphaned_runs.settled(task_key, delivery)
        if task is None:
            self.unknown_settles += 1
            return True
        if task_key in self._changes:
            return False
        current = task.state == LEASED and task.delivery == delivery
        if not current:
            task.envelope.counters.count(task.envelope.counters.late, OUTCOME_NAMES[outcome])
            if outcome != Outcome.SUCCESS or moves.NEXT[moves.SUCCEED][task.state] < 0:
                return True
        if outcome == Outcome.SUCCESS:
            self._changes[task_key] = Change(moves.SUCCEED, task, body, run_s, runs_on=not current)
        elif outcome in (Outcome.RELEASED, Outcome.UNKNOWN):
            self._changes[task_key] = Change(moves.RELEASE, task)
        elif outcome == Outcome.SNOOZED:
            self._changes[task_key] = Change(moves.SNOOZE, task, delay_s=delay_s or 0.0)
        elif outcome == Outcome.DISCARDED:
            self._changes[task_key] = Change(moves.CANCEL, task, cause=cause)
        else:
            self._changes[task_key] = self._after_failure(task, outcome, body or b"", cause, delay_s)
        return True

    def note_progress(self, task_key: int, delivery: int, fraction: float, text: str) -> None:
        """Keep the progress that a task reports under its present lease in memory only."""
        task = self._tasks.get(task_key)
        if task is not None and task.state == LEASED and task.delivery == delivery:
            self.state.progress[task_key] = (fraction, text)

    def save_part(self, task_key: int, delivery: int, outcome: int, content: bytes) -> bool:
        """Accept a cursor, or a part of its stream, from a running task.

        False: the part's number is above the limit.
        """
        task = self._tasks.get(task_key)
        if task is None or task.state != LEASED or task.delivery != delivery:
            return True
        if outcome == Outcome.CHECKPOINT:
            self.state.checkpoints.save(task_key, content)
            return True
        number, body = part_number(content)
        return self.state.stream_parts.add(task_key, number, body)

    def cancel(self, task_key: int, cause: str = "", *, running: bool = False) -> bool | None:
        """Cancel a waiting task; with `running`, also a leased task, whose settle is then late.

        None: the task changes in this cycle already, and the caller must repeat the call in the next cycle. False: the
        task has ended, runs, or is not known.
        """
        task = self._tasks.get(task_key)
        if task is None or moves.NEXT[moves.CANCEL][task.state] < 0 or (task.state == LEASED and not running):
            return False
        if task_key in self._changes:
            return None
        self._changes[task_key] = Change(moves.CANCEL, task, cause=cause, runs_on=task.state == LEASED)
        return True

    def succeeds(self, task_key: int) -> bool:
        """Whether the present cycle has decided that the task succeeds."""
        return (change := self._changes.get(task_key)) is not None and change.event == moves.SUCCEED

    def _after_failure(self, task: Task, outcome: int, error: bytes, cause: str, delay_s: float | None) -> Change:
        reason = "timeout" if outcome == Outcome.TIMEOUT else "failure"
        if outcome == Outcome.FATAL or task.failures >= task.envelope.retries:
            return self.pending.bury(task, error, cause, reason)
        if delay_s is None:
            delay_s = self.defaults.backoff.delay_s(task.failures + 1, self._jitter)
        return Change(moves.RETRY, task, delay_s=delay_s, cause=cause, reason=reason)

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
        """End all leases of `holder`, whose process has died or no longer answers.

        The task with the key `running` counts as lost; if `running` is None, every task does. The tasks `begun` had
        ended, but their settles are lost: they count as lost too. If the holder died `unexplained`, before any task
        began, each task counts as lost, and becomes a dead letter only if it was lost before.
        `reason` is a label of the metrics, `cause` a phrase for the task's history. False: the caller must repeat the
        call in the next cycle.
        """
        complete = True
        self._orphaned_runs.holder_ended(holder)
        for task_key, task in holder.held.items():
            if task_key in self._changes:
                complete = False
                continue
            had_begun = running in (None, task_key) or task_key in begun
            if not (had_begun or unexplained):
                self._changes[task_key] = Change(moves.RELEASE, task)
            elif task.lost + 1 >= task.envelope.max_deliveries and (had_begun or task.lost):
                self._changes[task_key] = self.pending.bury(task, b"", cause, reason)
            else:
                self._changes[task_key] = Change(moves.LOSE, task, cause=cause, reason=reason)
        return complete

    def detach_holder(self, holder: Holder) -> Holder:
        """Move the lease-bound tasks of a holder that lost its connection to a new holder, and return that holder.

        The tasks may still run and count as running until their leases end; before that, their executor can reclaim
        them.
        """
        detached = Holder(holder.label, holder.worker)
        for task in [task for task in holder.held.values() if task.lease_bound]:
            del holder.held[task.task_key]
            task.holder = detached
            detached.held[task.task_key] = task
        self._orphaned_runs.pass_on(holder, detached)
        return detached

    def holds(self, holder: Holder) -> bool:
        """Whether a holder has leases, or may run tasks that have ended."""
        return bool(holder.held or self._orphaned_runs.runs_of(holder))

    def store_leases(self) -> None:
        """Let the next commit store the leases of lease-bound tasks that were leased since the last commit."""
        self.pending.leases_to_store += self.leasing.unstored
        self.leasing.unstored.clear()

    def take_unstored_leases(self) -> tuple[list[Task], list[Task]]:
        """Take out what the next commit would store besides decisions: leases, and tasks whose executors stopped."""
        leases, self.pending.leases_to_store = self.pending.leases_to_store, []
        stopped, self._orphaned_runs.ended_tasks = self._orphaned_runs.ended_tasks, []
        return leases, stopped

    def put_unstored_leases(self, leases: Sequence[Task], stopped: Sequence[Task]) -> None:
        """Let the next commit store what `take_unstored_leases` has taken out."""
        self.pending.leases_to_store += leases
        self._orphaned_runs.ended_tasks += stopped

    def reclaim(self, holder: Holder, task_key: int, delivery: int) -> bool:
        """Give a lease that has not ended to the reconnected executor that holds it; False if it has ended."""
        task = self._tasks.get(task_key)
        if task is None or task_key in self._changes or task.state != LEASED or task.delivery != delivery:
            return False
        if task.holder is not None:
            del task.holder.held[task_key]
        task.holder = holder
        holder.held[task_key] = task
        return True

    def settle_dead(self, task_key: int, event: int) -> bool:
        """Requeue a dead letter as if it had never failed (REQUEUE), or drop it (DROP).

        To requeue a task, its body must be in memory and its unique key must be free (`unique_rival`). False: the task
        is no dead letter, or changes in this cycle already.
        """
        task = self.state.dead.get(task_key)
        if task is None or task_key in self._changes:
            return False
        if event == moves.REQUEUE and task.constraints.unique_key:
            self.pending.claimed.add((task.envelope.queue, task.constraints.unique_key))
        arguments = head.unpack_dead(task.body or b"").arguments if event == moves.REQUEUE else None
        self._changes[task_key] = Change(event, task, arguments)
        return True

    def discard_unused(self, now: float) -> list[int]:
        """Forget queues, envelopes and counters that nothing uses; returns the keys of the rows to drop."""
        self.policies.discard_unused(now)
        self.leasing.offering()
        return self.registry.discard_unused(now)

    # -- commit and apply ----------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether anything was decided since the last `apply` or `forget`."""
        pending = self.pending
        of_tasks = pending.submitted or pending.changes or pending.leases_to_store or self._orphaned_runs.ended_tasks
        return bool(of_tasks or self._new_cursors or self._new_parts or self.policies.decided)

    def batch(self, now: float) -> dict[int, Row]:
        """The rows of the decided changes for the store: heads and bodies as `apply(now)` makes them."""
        rows = self.pending.rows(now, self._orphaned_runs.ended_tasks)
        checkpoints, stream_parts, policies = self.state.checkpoints, self.state.stream_parts, self.policies
        if checkpoints.cursors or checkpoints.decided:
            rows.update(checkpoints.rows(self._changes))
        if stream_parts.by_task or stream_parts.decided:
            rows.update(stream_parts.rows(self._changes))
        if policies.decided or policies.spent:
            rows.update(policies.rows())
        return rows

    def savepoint(self) -> Savepoint:
        """The savepoint after all decisions of this cycle so far."""
        pending, policies = self.pending, self.policies.decided
        # An unread task has a change too. This is the first request of a cycle, often the only one, so it is fast.
        if not (self._changes or pending.submitted or policies or self._new_cursors or self._new_parts):
            return NOTHING_DECIDED
        return Savepoint(
            len(pending.submitted),
            len(pending.changes),
            len(pending.unread),
            len(self._new_cursors),
            len(self._new_parts),
            dict(policies) if policies else None,
        )

    def undo(self, before: Savepoint) -> None:
        """Drop all decisions since `before`, because a request failed before its end."""
        state = self.state
        for event, task, *_ in self.pending.undo(before):
            if event == moves.DUE:
                state.delayed.add(task.due_at, task)
            elif event == moves.EXPIRE:
                assert task.expires_at is not None
                state.expiring.add(task.expires_at, task)
        state.checkpoints.undo(before.cursors)
        state.stream_parts.undo(before.parts)
        self.policies.undo(before.decided_policies)

    def forget(self) -> None:
        """Drop all decisions without a change, because the store refused them."""
        self.undo(NOTHING_DECIDED)

    def apply(self, now: float) -> None:
        """Apply the decided changes."""
        new, changes = self.pending.take()
        self.policies.apply()
        self.state.apply_changes(new, changes, now)
        if self._orphaned_runs.ended_tasks:
            self.state.release_orphaned(now)
