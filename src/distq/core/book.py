"""The book: every task as it stands, and how a decided change happens to one.

Nothing is decided here: `ledger.Ledger` does that. All of it is between two commits, in memory, and cannot fail.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.changes import CAUSES_KEPT, causes_after, count_attempt
from distq.core.dead_letters import OVER
from distq.core.deadlines import Deadlines
from distq.core.extras import Extras
from distq.core.kept import Kept
from distq.core.leases import Leases
from distq.core.lingering import Lingering
from distq.core.task import DEAD, DELAYED, HELD, LIVE_STATES, NO_MORE, PLAIN, READY, SUCCEEDED, Owner, Task
from distq.core.together import Together
from distq.core.turns import UNDER_WAY
from distq.core.window import WINDOW_BYTES, hold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.changes import Change, Submitted
    from distq.core.names import Names
    from distq.core.queue import Queue
    from distq.core.task import After, Holder

MEAN_WEIGHT = 0.05
"""Weight of the newest run in a queue's moving average."""
ENDS = {moves.CANCEL: "cancelled", moves.EXPIRE: "expired"}
"""What ends without success or death is counted as."""


class Book:
    """All tasks, queues and counters of one master."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tasks: dict[int, Task] = {}
        self.dead: dict[int, Task] = {}
        """The dead letters among them, the longest dead first."""
        self.ready_queues: dict[Queue, None] = {}
        """Queues that may have ready tasks, the one served longest ago first."""
        self.dead_dropped = 0
        """Dead letters that went because they were older or more than are kept."""
        self.unknown_settles = 0
        """Settles of tasks that the ledger does not know (any more)."""
        self.heard: dict[Owner, None] = {}
        """Owners whose outbox has grown since the broker last looked."""
        self.progress: dict[int, tuple[float, str]] = {}
        """How far leased tasks are, as they have said last: a fraction and a few words."""
        self.caused_at: dict[int, list[float]] = {}
        """When the newest of each task's causes came about; a restarted master has forgotten it."""
        self.extras = Extras()
        """Cursors and parts of streams."""
        self.together = Together()
        """Who comes after whom."""
        self.curious: dict[int, list[Owner]] = {}
        """Who wants to hear of a live task's end besides its owner."""
        self.noted: list[tuple[str, Task, str]] = []
        """What an operator wants to read: (event in the past tense, task, cause), until the broker clears it."""
        self.faults: list[Exception] = []
        """What went wrong with single changes that are stored, until the broker clears it."""
        self.window_bytes = WINDOW_BYTES
        """How many more bytes of payloads stay in memory; beyond it the store alone has them."""
        self.delayed: Deadlines[Task] = Deadlines(lambda at, task: task.state == DELAYED and task.due_at == at)
        """Delayed tasks by the moment at which they become ready."""
        self.expiring: Deadlines[Task] = Deadlines(lambda at, task: task.state in LIVE_STATES and task.expires_at == at)
        """Live tasks by the moment from which on they must not be begun."""
        self.kept = Kept()
        """Settled tasks whose results are kept."""
        self.leases = Leases()
        self.lingering = Lingering()

    def happen(self, new: Iterable[Submitted], changes: Iterable[Change], now: float) -> None:
        """Take new tasks in, and let decided changes happen."""
        extras = self.extras
        if extras.changed:
            extras.apply()
        self._take_in(new, now)
        returned: list[Task] = []
        last: list[Change] = []
        has_extras = extras.in_use
        for change in changes:
            event = change.event
            try:
                if has_extras:
                    extras.ended(change.task.id, event)
                if event == moves.SUCCEED:
                    self._succeed(change, now)
                elif event == moves.DROP:
                    if change.reason == OVER:
                        change.task.envelope.tally.dropped += 1
                        self.dead_dropped += 1
                    self._drop(change.task)
                elif event == moves.REQUEUE and change.task.more.after is not None:
                    last.append(change)  # when those before it, of the same cycle, are live again
                else:
                    self._turn(change, event, now, returned)
            except Exception as exc:  # noqa: BLE001 - it is stored: all others must happen here too
                self.faults.append(exc)
        for change in sorted(last, key=lambda one: one.task.id):  # what comes first has the lower key
            self._turn(change, change.event, now, returned)
        returned.sort(key=attrgetter("id"), reverse=True)  # so that those given back together stay in submit order
        self.put_back(returned)

    def follow(self, task: Task, owner: Owner) -> None:
        """Have somebody hear of a live task's end."""
        if task.owner is None or task.owner.ended:
            task.owner = owner
        elif task.owner is not owner:
            others = [one for one in self.curious.get(task.id, ()) if not (one.ended or one is owner)]
            self.curious[task.id] = [*others, owner]

    def put_back(self, taken: Iterable[Task]) -> None:
        """Put tasks first in line again, the last one foremost."""
        for task in taken:
            task.envelope.queue.line_up_first(task)

    def line_up(self, task: Task, now: float) -> None:
        """A ready task goes to the end of its line: once all before it have ended, and its key lets it."""
        after = task.more.after
        if after is not None and self.together.waits(task, after, self.tasks):
            moves.move(task, moves.HOLD)
        else:
            self._in_turn(task, now)

    def _in_turn(self, task: Task, now: float) -> None:
        if task.more.key:
            moves.move(task, moves.HOLD)
            self._admit(task.envelope.queue.turns.enter(task), now)
        else:
            queue = task.envelope.queue
            queue.line_up(task)
            self.ready_queues[queue] = None

    def _admit(self, held: Iterable[Task], now: float) -> None:
        for task in held:
            moves.move(task, moves.ADMIT)
            task.since = max(task.since, now)
            queue = task.envelope.queue
            queue.line_up(task)
            self.ready_queues[queue] = None

    # -- each change -----------------------------------------------------------------------------

    def _take_in(self, new: Iterable[Submitted], now: float) -> None:
        known, window_bytes = self.tasks, self.window_bytes
        for submitted in new:
            envelope, tasks = submitted.envelope, submitted.tasks
            queue = envelope.queue
            queue.reserved -= len(tasks)
            queue.counts[READY] += len(tasks)
            envelope.tally.submitted += len(tasks)
            for task in tasks:
                known[task.id] = task
                if task.body is not None:
                    if len(task.body) <= window_bytes:
                        window_bytes -= len(task.body)
                    else:
                        task.body = None
            if not tasks:
                continue
            if submitted.is_plain:
                queue.line_up_all(envelope, tasks)
                self.ready_queues[queue] = None
            else:
                for task in tasks:
                    self._take_in_one(task, submitted, now)
        self.window_bytes = window_bytes

    def _take_in_one(self, task: Task, submitted: Submitted, now: float) -> None:
        """A new task that does not just go to the end of its line, or not for ever."""
        task.more = more = submitted.more
        if more.unique:
            task.envelope.queue.take_unique(task)
        if more.after is not None:
            self.together.know(task, more.after)
        if submitted.expires_at is not None:
            task.expires_at = submitted.expires_at
            self.expiring.add(submitted.expires_at, task)
        if submitted.due_at > now:
            moves.move(task, moves.DELAY)
            task.due_at = submitted.due_at
            self.delayed.add(submitted.due_at, task)
        else:
            self.line_up(task, now)

    def _succeed(self, change: Change, now: float) -> None:
        task = change.task
        envelope = task.envelope
        before, holder = task.state, task.holder
        self._leave(task)
        moves.move(task, moves.SUCCEED)
        if change.runs_on or task.more is not NO_MORE:
            self._give_up_place(change, before, holder, now)
        tally = envelope.tally
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

    def _leave(self, task: Task) -> None:
        """A task leaves where it stands: who holds it, or its place in line or among the deadlines."""
        holder = task.holder
        if holder is not None:
            del holder.held[task.id]
            task.holder = None
            if self.progress:
                self.progress.pop(task.id, None)
        elif task.state == READY:
            task.envelope.queue.lane(task.envelope).left()
        elif task.state == DELAYED:
            self.delayed.left()
        elif task.state == HELD:
            if task.more.after is not None and self.together.holds(task):
                self.together.left(task)
            else:
                task.envelope.queue.turns.left(task)

    def _give_up_place(self, change: Change, before: int, holder: Holder | None, now: float) -> None:
        """Let others of a concurrency key in, if the task was under way and is not any more, nor runs on."""
        task = change.task
        if change.runs_on and holder is not None and task.fenced:
            self.lingering.add(task, holder)
        elif task.more.key and before in UNDER_WAY and task.state not in UNDER_WAY:
            self._admit(task.envelope.queue.turns.free(task), now)

    def free_places(self, now: float) -> None:
        """What has lingered runs no more: others may come in."""
        over, self.lingering.over = self.lingering.over, []
        for task in over:
            queue = task.envelope.queue
            queue.lingering -= 1
            if task.more.key:
                self._admit(queue.turns.free(task), now)
            if task.id not in self.together.followers:
                self.kept.add(task)

    def _end(self, task: Task, now: float) -> None:
        """A task has come to its one terminal state: tell its owner, and keep what must be kept."""
        task.since = now
        if task.expires_at is not None and task.expires_at > now:
            self.expiring.left()
        if task.more is not NO_MORE and task.more.unique_for_s is None:
            task.envelope.queue.give_up(task)
        owner = task.owner
        if owner is not None:
            task.owner = None
            owner.outbox.append(task)
            self.heard[owner] = None
            for other in self.curious.pop(task.id, ()) if self.curious else ():
                other.outbox.append(task)
                self.heard[other] = None
        else:  # nobody waits for it: whoever asks for it is given it from the store
            task.body = None
        if task.envelope.kind == PLAIN and task.state == SUCCEEDED:
            self._drop(task)  # its result, if it has one, is an item of its own on the result queue
        elif self.together.followers:
            self._end_together(task, now)
        elif task.state != DEAD:
            self._keep(task)

    def _keep(self, task: Task) -> None:
        """Keep a task that has ended for its result's time, which begins when no executor runs the task any more."""
        lingering = self.lingering
        if not (lingering.running or lingering.over) or not lingering.is_running(task):
            self.kept.add(task)

    def _end_together(self, task: Task, now: float) -> None:
        """Let go on what has waited for the end of a task, and let go of what the task has waited for.

        The task's own result is kept for as long as somebody after it may need it, or else for its time.
        """
        if task.state != DEAD and task.id not in self.together.followers:
            self._keep(task)
        for follower in self.together.ended(task):
            moves.move(follower, moves.ADMIT)
            follower.since = now
            self._in_turn(follower, now)
        if task.more.after is not None and task.state != DEAD:
            self._let_go(task, task.more.after)

    def _let_go(self, task: Task, after: After) -> None:
        for before in self.together.forget(task, after, self.tasks):
            self._keep(before)

    def _drop(self, task: Task) -> None:
        moves.move(task, moves.DROP)
        task.envelope.queue.counts[task.state] = 0  # nobody counts what is gone
        del self.tasks[task.id]
        self.caused_at.pop(task.id, None)
        if self.dead.pop(task.id, None) is not None:
            hold(self, task, None)
            if task.more.after is not None:
                self._let_go(task, task.more.after)
        self.kept.drop(task)
        if task.more is not NO_MORE:
            task.envelope.queue.give_up(task)

    def _turn(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """Everything but success: the task waits, has ended, or is noted among those to put back in line."""
        task = change.task
        envelope = task.envelope
        tally = envelope.tally
        holder = task.holder
        if event != moves.DUE:  # which has taken it out already
            self._leave(task)
        before = task.state
        moves.move(task, event)
        task.since = now
        if change.runs_on or task.more is not NO_MORE:
            self._give_up_place(change, before, holder, now)
        if change.cause:
            task.causes = causes_after(change)
            self.caused_at[task.id] = [*self.caused_at.get(task.id, ()), now][-CAUSES_KEPT:]
        if event in (moves.RETRY, moves.LOSE, moves.BURY):
            count_attempt(change)
            if event == moves.LOSE:
                self.noted.append(("task_lost", task, change.cause))
        if event == moves.BURY:
            self.noted.append(("task_buried", task, change.cause))
            tally.completed["dead"] += 1
            hold(self, task, None)
            task.body = change.body
            self.dead[task.id] = task
            self._end(task, now)
        elif event in ENDS:
            tally.completed[ENDS[event]] += 1
            hold(self, task, None)
            self._end(task, now)
        elif event in (moves.RETRY, moves.SNOOZE):
            if event == moves.RETRY:
                tally.retries[change.reason] += 1
            else:
                tally.attempts["snoozed"] += 1
            task.due_at = now + change.due_at
            self.delayed.add(task.due_at, task)
            self._expire_again(task, now)
        else:
            self._line_up(change, event, now, returned)

    def _line_up(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """A task is ready again: at the end of its line, or among those to put back first in it."""
        task = change.task
        envelope = task.envelope
        if event == moves.GIVE_BACK:
            envelope.tally.attempts["returned"] += 1
        if event == moves.REQUEUE:
            del self.dead[task.id]
            envelope.tally.requeued += 1
            hold(self, task, change.body)  # and its causes stay: they tell why it was dead before
            self.together.again(task, self.tasks)
            task.failures = task.lost = 0
            task.expires_at = None
            if task.more.unique:
                envelope.queue.take_unique(task)
        if event in (moves.DUE, moves.REQUEUE):
            self.line_up(task, now)
        else:
            returned.append(task)
            self.ready_queues[envelope.queue] = None
        self._expire_again(task, now)

    def _expire_again(self, task: Task, now: float) -> None:
        """It was running when its time was over, and now it waits."""
        if task.expires_at is not None and task.expires_at <= now:
            self.expiring.add(task.expires_at, task)
