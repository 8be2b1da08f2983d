"""The book: every task as it stands, and how a decided change happens to one.

Nothing is decided here: `ledger.Ledger` does that. All of it is between two commits, in memory, and cannot fail.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.changes import CAUSES_KEPT, causes_after, count_attempt
from distq.core.concurrency_keys import IN_FLIGHT
from distq.core.dead_letters import EXPIRED_REASON
from distq.core.deadlines import Deadlines
from distq.core.dependencies import Dependencies
from distq.core.lease_journal import LeaseJournal
from distq.core.orphaned_runs import OrphanedRuns
from distq.core.payload_cache import WINDOW_BYTES, hold
from distq.core.retention import RetainedResults
from distq.core.stored_parts import StoredParts
from distq.core.task import DEAD, DELAYED, HELD, LIVE_STATES, NO_CONSTRAINTS, PLAIN, READY, SUCCEEDED, Owner, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.changes import Change, Submitted
    from distq.core.queue import Queue
    from distq.core.registry import Registry
    from distq.core.task import DependsOn, Holder

MEAN_WEIGHT = 0.05
"""Weight of the newest run in a queue's moving average."""
END_WORDS = {moves.CANCEL: "cancelled", moves.EXPIRE: "expired"}
"""What ends without success or death is counted as."""


class LedgerState:
    """All tasks, queues and counters of one master."""

    def __init__(self, names: Registry) -> None:
        self.registry = names
        self.tasks: dict[int, Task] = {}
        self.dead: dict[int, Task] = {}
        """The dead letters among them, the longest dead first."""
        self.ready_queues: dict[Queue, None] = {}
        """Queues that may have ready tasks, the one served longest ago first."""
        self.dead_dropped = 0
        """Dead letters that went because they were older or more than are kept."""
        self.unknown_settles = 0
        """Settles of tasks that the ledger does not know (any more)."""
        self.owners_to_notify: dict[Owner, None] = {}
        """Owners whose outbox has grown since the broker last looked."""
        self.progress: dict[int, tuple[float, str]] = {}
        """How far leased tasks are, as they have said last: a fraction and a few words."""
        self.causes_at: dict[int, list[float]] = {}
        """When the newest of each task's causes came about; a restarted master has forgotten it."""
        self.extras = StoredParts()
        """Cursors and parts of streams."""
        self.dependencies = Dependencies()
        """Who comes after whom."""
        self.subscribers: dict[int, list[Owner]] = {}
        """Who wants to hear of a live task's end besides its owner."""
        self.operator_events: list[tuple[str, Task, str]] = []
        """What an operator wants to read: (event in the past tense, task, cause), until the broker clears it."""
        self.faults: list[Exception] = []
        """What went wrong with single changes that are stored, until the broker clears it."""
        self.cache_room_bytes = WINDOW_BYTES
        """How many more bytes of payloads stay in memory; beyond it the store alone has them."""
        self.delayed: Deadlines[Task] = Deadlines(lambda at, task: task.state == DELAYED and task.due_at == at)
        """Delayed tasks by the moment at which they become ready."""
        self.expiring: Deadlines[Task] = Deadlines(lambda at, task: task.state in LIVE_STATES and task.expires_at == at)
        """Live tasks by the moment from which on they must not be begun."""
        self.retained = RetainedResults()
        """Settled tasks whose results are kept."""
        self.lease_journal = LeaseJournal()
        self.orphaned_runs = OrphanedRuns()

    def apply_changes(self, new: Iterable[Submitted], changes: Iterable[Change], now: float) -> None:
        """Take new tasks in, and let decided changes happen."""
        extras = self.extras
        if extras.changed:
            extras.apply()
        self._add_all(new, now)
        returned: list[Task] = []
        last: list[Change] = []
        has_extras = extras.in_use
        for change in changes:
            event = change.event
            try:
                if has_extras:
                    extras.ended(change.task.task_key, event)
                if event == moves.SUCCEED:
                    self._succeed(change, now)
                elif event == moves.DROP:
                    if change.reason == EXPIRED_REASON:
                        change.task.envelope.counters.dropped += 1
                        self.dead_dropped += 1
                    self._drop(change.task)
                elif event == moves.REQUEUE and change.task.constraints.depends_on is not None:
                    last.append(change)  # when those before it, of the same cycle, are live again
                else:
                    self._apply_change(change, event, now, returned)
            except Exception as exc:  # noqa: BLE001 - it is stored: all others must happen here too
                self.faults.append(exc)
        for change in sorted(last, key=lambda one: one.task.task_key):  # what comes first has the lower key
            self._apply_change(change, change.event, now, returned)
        returned.sort(
            key=attrgetter("task_key"), reverse=True
        )  # so that those given back together stay in submit order
        self.requeue_first(returned)

    def subscribe(self, task: Task, owner: Owner) -> None:
        """Have somebody hear of a live task's end."""
        if task.owner is None or task.owner.ended:
            task.owner = owner
        elif task.owner is not owner:
            others = [one for one in self.subscribers.get(task.task_key, ()) if not (one.ended or one is owner)]
            self.subscribers[task.task_key] = [*others, owner]

    def requeue_first(self, taken: Iterable[Task]) -> None:
        """Put tasks first in line again, the last one foremost."""
        for task in taken:
            task.envelope.queue.enqueue_first(task)

    def enqueue(self, task: Task, now: float) -> None:
        """A ready task goes to the end of its line: once all before it have ended, and its key lets it."""
        after = task.constraints.depends_on
        if after is not None and self.dependencies.waits(task, after, self.tasks):
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
        known, window_bytes = self.tasks, self.cache_room_bytes
        for submitted in new:
            envelope, tasks = submitted.envelope, submitted.tasks
            queue = envelope.queue
            queue.reserved -= len(tasks)
            queue.counts[READY] += len(tasks)
            envelope.counters.submitted += len(tasks)
            for task in tasks:
                known[task.task_key] = task
                if task.body is not None:
                    if len(task.body) <= window_bytes:
                        window_bytes -= len(task.body)
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
        self.cache_room_bytes = window_bytes

    def _add_constrained(self, task: Task, submitted: Submitted, now: float) -> None:
        """A new task that does not just go to the end of its line, or not for ever."""
        task.constraints = constraints = submitted.constraints
        if constraints.unique_key:
            task.envelope.queue.take_unique(task)
        if constraints.depends_on is not None:
            self.dependencies.add(task, constraints.depends_on)
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
        before, holder = task.state, task.holder
        self._detach(task)
        moves.move(task, moves.SUCCEED)
        if change.runs_on or task.constraints is not NO_CONSTRAINTS:
            self._release_concurrency_key(change, before, holder, now)
        tally = envelope.counters
        tally.attempts["success"] += 1
        tally.completed["success"] += 1
        tally.run.observe(change.run_s)
        tally.total.observe(now - task.submitted_at)
        queue = envelope.queue
        mean_s = queue.mean_run_s
        queue.mean_run_s = change.run_s if mean_s is None else mean_s + MEAN_WEIGHT * (change.run_s - mean_s)
        hold(self, task, None)
        task.body = change.body
        self._end(task, now)

    def _detach(self, task: Task) -> None:
        """A task leaves where it stands: who holds it, or its place in line or among the deadlines."""
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
            if task.constraints.depends_on is not None and self.dependencies.holds(task):
                self.dependencies.discard_one(task)
            else:
                task.envelope.queue.concurrency_keys.discard_one(task)

    def _release_concurrency_key(self, change: Change, before: int, holder: Holder | None, now: float) -> None:
        """Let others of a concurrency key in, if the task was under way and is not any more, nor runs on."""
        task = change.task
        if change.runs_on and holder is not None and task.lease_bound:
            self.orphaned_runs.add(task, holder)
        elif task.constraints.concurrency_key and before in IN_FLIGHT and task.state not in IN_FLIGHT:
            self._admit_all(task.envelope.queue.concurrency_keys.release(task), now)

    def release_orphaned(self, now: float) -> None:
        """What has lingered runs no more: others may come in."""
        over, self.orphaned_runs.ended_tasks = self.orphaned_runs.ended_tasks, []
        for task in over:
            queue = task.envelope.queue
            queue.orphaned_count -= 1
            if task.constraints.concurrency_key:
                self._admit_all(queue.concurrency_keys.release(task), now)
            if task.task_key not in self.dependencies.followers:
                self.retained.add(task)

    def _end(self, task: Task, now: float) -> None:
        """A task has come to its one terminal state: tell its owner, and keep what must be kept."""
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
        else:  # nobody waits for it: whoever asks for it is given it from the store
            task.body = None
        if task.envelope.kind == PLAIN and task.state == SUCCEEDED:
            self._drop(task)  # its result, if it has one, is an item of its own on the result queue
        elif self.dependencies.followers:
            self._end_with_dependencies(task, now)
        elif task.state != DEAD:
            self._keep(task)

    def _keep(self, task: Task) -> None:
        """Keep a task that has ended for its result's time, which begins when no executor runs the task any more."""
        lingering = self.orphaned_runs
        if not (lingering.running or lingering.ended_tasks) or not lingering.is_running(task):
            self.retained.add(task)

    def _end_with_dependencies(self, task: Task, now: float) -> None:
        """Let go on what has waited for the end of a task, and let go of what the task has waited for.

        The task's own result is kept for as long as somebody after it may need it, or else for its time.
        """
        if task.state != DEAD and task.task_key not in self.dependencies.followers:
            self._keep(task)
        for follower in self.dependencies.ended(task):
            moves.move(follower, moves.ADMIT)
            follower.state_since_at = now
            self._enqueue_ready(follower, now)
        if task.constraints.depends_on is not None and task.state != DEAD:
            self._release_upstream(task, task.constraints.depends_on)

    def _release_upstream(self, task: Task, after: DependsOn) -> None:
        for before in self.dependencies.forget(task, after, self.tasks):
            self._keep(before)

    def _drop(self, task: Task) -> None:
        moves.move(task, moves.DROP)
        task.envelope.queue.counts[task.state] = 0  # nobody counts what is gone
        del self.tasks[task.task_key]
        self.causes_at.pop(task.task_key, None)
        if self.dead.pop(task.task_key, None) is not None:
            hold(self, task, None)
            if task.constraints.depends_on is not None:
                self._release_upstream(task, task.constraints.depends_on)
        self.retained.drop(task)
        if task.constraints is not NO_CONSTRAINTS:
            task.envelope.queue.release_unique(task)

    def _apply_change(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """Everything but success: the task waits, has ended, or is noted among those to put back in line."""
        task = change.task
        envelope = task.envelope
        tally = envelope.counters
        holder = task.holder
        if event != moves.DUE:  # which has taken it out already
            self._detach(task)
        before = task.state
        moves.move(task, event)
        task.state_since_at = now
        if change.runs_on or task.constraints is not NO_CONSTRAINTS:
            self._release_concurrency_key(change, before, holder, now)
        if change.cause:
            task.causes = causes_after(change)
            self.causes_at[task.task_key] = [*self.causes_at.get(task.task_key, ()), now][-CAUSES_KEPT:]
        if event in (moves.RETRY, moves.LOSE, moves.BURY):
            count_attempt(change)
            if event == moves.LOSE:
                self.operator_events.append(("task_lost", task, change.cause))
        if event == moves.BURY:
            self.operator_events.append(("task_buried", task, change.cause))
            tally.completed["dead"] += 1
            hold(self, task, None)
            task.body = change.body
            self.dead[task.task_key] = task
            self._end(task, now)
        elif event in END_WORDS:
            tally.completed[END_WORDS[event]] += 1
            hold(self, task, None)
            self._end(task, now)
        elif event in (moves.RETRY, moves.SNOOZE):
            if event == moves.RETRY:
                tally.retries[change.reason] += 1
            else:
                tally.attempts["snoozed"] += 1
            task.due_at = now + change.delay_s
            self.delayed.add(task.due_at, task)
            self._expire_again(task, now)
        else:
            self._line_up(change, event, now, returned)

    def _line_up(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """A task is ready again: at the end of its line, or among those to put back first in it."""
        task = change.task
        envelope = task.envelope
        if event == moves.GIVE_BACK:
            envelope.counters.attempts["returned"] += 1
        if event == moves.REQUEUE:
            del self.dead[task.task_key]
            envelope.counters.requeued += 1
            hold(self, task, change.body)  # and its causes stay: they tell why it was dead before
            self.dependencies.again(task, self.tasks)
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
        """It was running when its time was over, and now it waits."""
        if task.expires_at is not None and task.expires_at <= now:
            self.expiring.add(task.expires_at, task)
