"""The state of all tasks in memory, and the code that applies each decided change.

`ledger.Ledger` decides the changes; this module applies them after the store has committed them, and refuses none.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.changes import CAUSES_KEPT, causes_after, count_attempt
from distq.core.checkpoints import Checkpoints
from distq.core.concurrency_keys import IN_FLIGHT
from distq.core.constraints import NO_CONSTRAINTS
from distq.core.dead_letters import EXPIRED_REASON
from distq.core.deadlines import Deadlines
from distq.core.dependencies import Dependencies
from distq.core.idempotency import IdempotentTasks
from distq.core.option_values import PLAIN
from distq.core.orphaned_runs import OrphanedRuns
from distq.core.payload_cache import PayloadCache
from distq.core.retention import RetainedResults
from distq.core.states import DEAD, DELAYED, HELD, LIVE_STATES, READY, SUCCEEDED
from distq.core.stream_parts import StreamParts
from distq.core.task import Owner, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.changes import Change, Submitted
    from distq.core.constraints import DependsOn
    from distq.core.queue import Queue
    from distq.core.task import Holder

MEAN_WEIGHT = 0.05
"""Weight of the newest run in a queue's moving average of run times."""
COUNTED_ENDS = {moves.CANCEL: "cancelled", moves.EXPIRE: "expired"}
"""Event: the label under which TaskCounters count a task that it ends."""


class LedgerState:
    """All tasks of one master, and the facts about them that are not in their own fields."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        """All tasks by key."""
        self.dead: dict[int, Task] = {}
        """Dead letters by key, the oldest first."""
        self.ready_queues: dict[Queue[Task], None] = {}
        """Queues that may have ready tasks, the one served longest ago first."""
        self.dead_dropped = 0
        """Number of dead letters dropped because of their age or their number."""
        self.owners_to_notify: dict[Owner, None] = {}
        """Owners whose outboxes have grown since the broker emptied them."""
        self.progress: dict[int, tuple[float, str]] = {}
        """The last progress that each leased task reported, by key: a fraction and a text."""
        self.causes_at: dict[int, list[float]] = {}
        """The times of each task's newest causes, by key; a restarted master does not know them."""
        self.checkpoints = Checkpoints()
        self.stream_parts = StreamParts()
        self.dependencies = Dependencies()
        self.idempotent = IdempotentTasks()
        self.subscribers: dict[int, list[Owner]] = {}
        """By key of a live task: further owners that receive its end, besides its own owner."""
        self.operator_events: list[tuple[str, Task, str]] = []
        """Log events for operators (event name, task, cause), until the broker clears them."""
        self.faults: list[Exception] = []
        """Exceptions that stored changes raised when they were applied, until the broker clears them."""
        self.cache = PayloadCache()
        self.delayed: Deadlines[Task] = Deadlines(lambda at, task: task.state == DELAYED and task.due_at == at)
        """Delayed tasks by `due_at`."""
        self.expiring: Deadlines[Task] = Deadlines(lambda at, task: task.state in LIVE_STATES and task.expires_at == at)
        """Live tasks by `expires_at`."""
        self.retained = RetainedResults()
        """Ended tasks whose results are kept."""
        self.orphaned_runs = OrphanedRuns()

    def apply_changes(self, new: Iterable[Submitted], changes: Iterable[Change], now: float) -> None:
        """Add new tasks, and apply decided changes."""
        checkpoints, stream_parts = self.checkpoints, self.stream_parts
        if checkpoints.decided or stream_parts.decided:
            checkpoints.apply()
            stream_parts.apply()
        self._add_all(new, now)
        returned: list[Task] = []
        requeued: list[Change] = []
        has_extras = bool(checkpoints.cursors or stream_parts.by_task or stream_parts.watched)
        for change in changes:
            event = change.event
            try:
                if has_extras:
                    checkpoints.ended(change.task.task_key, event)
                    stream_parts.ended(change.task.task_key, event)
                if event == moves.SUCCEED:
                    self._succeed(change, now)
                elif event == moves.DROP:
                    if change.reason == EXPIRED_REASON:
                        change.task.envelope.counters.dropped += 1
                        self.dead_dropped += 1
                    self._drop(change.task)
                elif event == moves.REQUEUE and change.task.constraints.depends_on is not None:
                    requeued.append(change)  # after its dependencies, which the same cycle may requeue
                else:
                    self._apply_change(change, event, now, returned)
            except Exception as exc:  # noqa: BLE001 - all changes are stored, so the other changes must be applied too
                self.faults.append(exc)
        for change in sorted(requeued, key=lambda one: one.task.task_key):  # a dependency has the lower key
            self._apply_change(change, change.event, now, returned)
        returned.sort(key=attrgetter("task_key"), reverse=True)  # tasks released together stay in submit order
        self.enqueue_first(returned)

    def subscribe(self, task: Task, owner: Owner) -> None:
        """Send a live task's end to `owner` too."""
        if task.owner is None or task.owner.ended:
            task.owner = owner
        elif task.owner is not owner:
            others = [one for one in self.subscribers.get(task.task_key, ()) if not (one.ended or one is owner)]
            self.subscribers[task.task_key] = [*others, owner]

    def enqueue_first(self, tasks: Iterable[Task]) -> None:
        """Make ready tasks the first of their queues again; the last of `tasks` becomes the very first."""
        for task in tasks:
            task.envelope.queue.enqueue_first(task)

    def enqueue(self, task: Task, now: float) -> None:
        """Add a ready task to its queue, or hold it until its dependencies and its concurrency key admit it."""
        depends_on = task.constraints.depends_on
        if depends_on is not None and self.dependencies.waits(task, depends_on, self.tasks):
            moves.move(task, moves.HOLD)
        else:
            self._enqueue_ready(task, now)

    def _enqueue_ready(self, task: Task, now: float) -> None:
        if task.constraints.concurrency_key:
            moves.move(task, moves.HOLD)
            self._admit_all(task.envelope.queue.concurrency_keys.enter(task), now)
        else:
            queue = task.envelope.queue
            queue.enqueue(task)
            self.ready_queues[queue] = None

    def _admit_all(self, held: Iterable[Task], now: float) -> None:
        for task in held:
            moves.move(task, moves.ADMIT)
            task.state_since_at = max(task.state_since_at, now)
            queue = task.envelope.queue
            queue.enqueue(task)
            self.ready_queues[queue] = None

    # -- each change -----------------------------------------------------------------------------

    def _add_all(self, new: Iterable[Submitted], now: float) -> None:
        tasks_by_key, room_bytes = self.tasks, self.cache.room_bytes
        for submitted in new:
            envelope, tasks = submitted.envelope, submitted.tasks
            queue = envelope.queue
            queue.reserved -= len(tasks)
            envelope.key_tasks.reserved -= len(tasks)
            envelope.key_tasks.kept += len(tasks)
            queue.counts[READY] += len(tasks)
            envelope.counters.submitted += len(tasks)
            for task in tasks:
                tasks_by_key[task.task_key] = task
                if task.body is not None:
                    if len(task.body) <= room_bytes:
                        room_bytes -= len(task.body)
                    else:
                        task.body = None
            if not tasks:
                continue
            if submitted.is_plain:
                queue.enqueue_all(envelope, tasks)
                self.ready_queues[queue] = None
            else:
                for task in tasks:
                    self._add_constrained(task, submitted, now)
        self.cache.room_bytes = room_bytes

    def _add_constrained(self, task: Task, submitted: Submitted, now: float) -> None:
        """Enqueue, delay or hold a new task that has constraints, an instant or an expiry."""
        task.constraints = constraints = submitted.constraints
        if constraints.unique_key:
            task.envelope.queue.take_unique(task)
        if constraints.depends_on is not None:
            self.dependencies.add(task, constraints.depends_on)
        if constraints.headers:
            self.idempotent.add(task)
        if submitted.expires_at is not None:
            task.expires_at = submitted.expires_at
            self.expiring.add(submitted.expires_at, task)
        if submitted.due_at > now:
            moves.move(task, moves.DELAY)
            task.due_at = submitted.due_at
            self.delayed.add(submitted.due_at, task)
        else:
            self.enqueue(task, now)

    def _succeed(self, change: Change, now: float) -> None:
        task = change.task
        envelope = task.envelope
        old_state, holder = task.state, task.holder
        self.detach(task)
        moves.move(task, moves.SUCCEED)
        if change.runs_on or task.constraints is not NO_CONSTRAINTS:
            self._release_concurrency_key(change, old_state, holder, now)
        counters = envelope.counters
        counters.attempts["success"] += 1
        counters.completed["success"] += 1
        counters.run.observe(change.run_s)
        counters.total.observe(now - task.submitted_at)
        queue = envelope.queue
        mean_s = queue.mean_run_s
        queue.mean_run_s = change.run_s if mean_s is None else mean_s + MEAN_WEIGHT * (change.run_s - mean_s)
        self.cache.hold(task, None)
        task.body = change.body
        self._end(task, now)

    def detach(self, task: Task) -> None:
        """Remove a task from its holder, its ready list, the deadlines, or the held tasks."""
        holder = task.holder
        if holder is not None:
            del holder.held[task.task_key]
            task.holder = None
            if self.progress:
                self.progress.pop(task.task_key, None)
        elif task.state == READY:
            task.envelope.queue.ready_list(task.envelope).discard_one()
        elif task.state == DELAYED:
            self.delayed.discard_one()
        elif task.state == HELD:
            if task.constraints.depends_on is not None and self.dependencies.is_waiting(task):
                self.dependencies.discard_one(task)
            else:
                task.envelope.queue.concurrency_keys.discard_one(task)

    def _release_concurrency_key(self, change: Change, old_state: int, holder: Holder | None, now: float) -> None:
        """Stop counting the task as running for its concurrency key and queue, unless its executor still runs it."""
        task = change.task
        if change.runs_on and holder is not None and task.lease_bound:
            self.orphaned_runs.add(task, holder)
        elif task.constraints.concurrency_key and old_state in IN_FLIGHT and task.state not in IN_FLIGHT:
            self._admit_all(task.envelope.queue.concurrency_keys.release(task), now)

    def release_orphaned(self, now: float) -> None:
        """Stop counting ended tasks as running once no executor runs them any longer."""
        stopped, self.orphaned_runs.ended_tasks = self.orphaned_runs.ended_tasks, []
        for task in stopped:
            queue = task.envelope.queue
            queue.orphaned_count -= 1
            if task.constraints.concurrency_key:
                self._admit_all(queue.concurrency_keys.release(task), now)
            if task.task_key not in self.dependencies.followers:
                self.retained.add(task)

    def _end(self, task: Task, now: float) -> None:
        """Send a task's end to its owners, and keep its result for as long as it may be needed."""
        task.state_since_at = now
        if task.expires_at is not None and task.expires_at > now:
            self.expiring.discard_one()
        if task.constraints is not NO_CONSTRAINTS and task.constraints.unique_for_s is None:
            task.envelope.queue.release_unique(task)
        owner = task.owner
        if owner is not None:
            task.owner = None
            owner.outbox.append(task)
            self.owners_to_notify[owner] = None
            for other in self.subscribers.pop(task.task_key, ()) if self.subscribers else ():
                other.outbox.append(task)
                self.owners_to_notify[other] = None
        else:  # a later request for the result reads it from the store
            task.body = None
        if task.envelope.kind == PLAIN and task.state == SUCCEEDED:
            self._drop(task)  # the result of a plain item is an item of the result queue
        elif self.dependencies.followers:
            self._end_with_dependencies(task, now)
        elif task.state != DEAD:
            self._keep(task)

    def _keep(self, task: Task) -> None:
        """Keep an ended task for its result's TTL, which begins when no executor runs the task any longer."""
        orphaned = self.orphaned_runs
        if not (orphaned.running or orphaned.ended_tasks) or not orphaned.is_running(task):
            self.retained.add(task)

    def _end_with_dependencies(self, task: Task, now: float) -> None:
        """Admit the followers of an ended task, and release the results of its own dependencies.

        The task's own result is kept until its last follower has ended, or else for its TTL.
        """
        if task.state != DEAD and task.task_key not in self.dependencies.followers:
            self._keep(task)
        for follower in self.dependencies.ended(task):
            moves.move(follower, moves.ADMIT)
            follower.state_since_at = now
            self._enqueue_ready(follower, now)
        if task.constraints.depends_on is not None and task.state != DEAD:
            self._release_upstream(task, task.constraints.depends_on)

    def _release_upstream(self, task: Task, depends_on: DependsOn) -> None:
        for upstream in self.dependencies.forget(task, depends_on, self.tasks):
            self._keep(upstream)

    def _drop(self, task: Task) -> None:
        moves.move(task, moves.DROP)
        task.envelope.queue.counts[task.state] = 0  # dropped tasks are not counted
        del self.tasks[task.task_key]
        task.envelope.key_tasks.kept -= 1
        if task.constraints.headers:
            self.idempotent.discard(task)
        self.causes_at.pop(task.task_key, None)
        if self.dead.pop(task.task_key, None) is not None:
            self.cache.hold(task, None)
            if task.constraints.depends_on is not None:
                self._release_upstream(task, task.constraints.depends_on)
        self.retained.drop(task)
        if task.constraints is not NO_CONSTRAINTS:
            task.envelope.queue.release_unique(task)

    def _apply_change(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """Apply a change that is no success; a task that is ready again may be added to `returned`."""
        task = change.task
        envelope = task.envelope
        counters = envelope.counters
        holder = task.holder
        if event != moves.DUE:  # the sweep has removed it from the deadlines already
            self.detach(task)
        old_state = task.state
        moves.move(task, event)
        task.state_since_at = now
        if change.runs_on or task.constraints is not NO_CONSTRAINTS:
            self._release_concurrency_key(change, old_state, holder, now)
        if change.cause:
            task.causes = causes_after(change)
            self.causes_at[task.task_key] = [*self.causes_at.get(task.task_key, ()), now][-CAUSES_KEPT:]
        if event in (moves.RETRY, moves.LOSE, moves.BURY):
            count_attempt(change)
            if event == moves.LOSE:
                self.operator_events.append(("task_lost", task, change.cause))
        if event == moves.BURY:
            self.operator_events.append(("task_buried", task, change.cause))
            counters.completed["dead"] += 1
            self.cache.hold(task, None)
            task.body = change.body
            self.dead[task.task_key] = task
            self._end(task, now)
        elif event in COUNTED_ENDS:
            counters.completed[COUNTED_ENDS[event]] += 1
            self.cache.hold(task, None)
            self._end(task, now)
        elif event in (moves.RETRY, moves.SNOOZE):
            if event == moves.RETRY:
                counters.retries[change.reason] += 1
            else:
                counters.attempts["snoozed"] += 1
            task.due_at = now + change.delay_s
            self.delayed.add(task.due_at, task)
            self._expire_again(task, now)
        else:
            self._make_ready(change, event, now, returned)

    def _make_ready(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """Enqueue a task that is ready again, or add it to `returned`, whose tasks become the first of their queues."""
        task = change.task
        envelope = task.envelope
        if event == moves.RELEASE:
            envelope.counters.attempts["returned"] += 1
        if event == moves.REQUEUE:
            del self.dead[task.task_key]
            envelope.counters.requeued += 1
            self.cache.hold(task, change.body)  # its causes stay, because they explain why it was a dead letter
            self.dependencies.requeued(task, self.tasks)
            task.failures = task.lost = 0
            task.expires_at = None
            if task.constraints.unique_key:
                envelope.queue.take_unique(task)
        if event in (moves.DUE, moves.REQUEUE):
            self.enqueue(task, now)
        else:
            returned.append(task)
            self.ready_queues[envelope.queue] = None
        self._expire_again(task, now)

    def _expire_again(self, task: Task, now: float) -> None:
        """Let a waiting task expire if it was running at its `expires_at`."""
        if task.expires_at is not None and task.expires_at <= now:
            self.expiring.add(task.expires_at, task)
