"""The ledger: every task the master knows, and the only code that decides what becomes of one.

A cycle has three steps. *Decide*: `submit`, `settle`, `lose`, `sweep` look at the tasks as they stand and
note one change a task; nothing moves yet, and what would change a task twice in one cycle is put off to the
next. *Commit*: the broker has the store keep `batch()`. *Apply*: the changes happen, or `forget()` drops them
as if nobody had asked. `lease` comes after that and is never stored: who holds what is found out again by
asking the workers.

There is no I/O here and no clock: `now` is seconds of the master's clock, which never steps back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from distq.core import head, moves
from distq.core.changes import Change, Row, causes_after, count_attempt, rows_of
from distq.core.deadlines import Deadlines
from distq.core.errors import PayloadTooLarge, QueueFull, TasksFull
from distq.core.kept import Kept
from distq.core.leases import Leases
from distq.core.names import Names, Rules
from distq.core.queue import Queue
from distq.core.retry import Jitter
from distq.core.task import (
    DEAD,
    DELAYED,
    LEASED,
    OUTCOME_NAMES,
    PLAIN,
    READY,
    SUCCEEDED,
    Envelope,
    Holder,
    Outcome,
    Owner,
    Task,
)
from distq.core.window import WINDOW_BYTES, hold

MEAN_WEIGHT = 0.05
"""Weight of the newest run in a queue's moving average."""


class Ledger:
    """All tasks, queues and counters of one master."""

    def __init__(self, rules: Rules, jitter: Jitter, first_key: int, names: Names | None = None) -> None:
        self.rules = rules
        self.names = Names(rules) if names is None else names
        self.tasks: dict[int, Task] = {}
        self.dead: dict[int, Task] = {}
        """The dead letters among them, the longest dead first."""
        self.ready_queues: dict[Queue, None] = {}
        """Queues that may have ready tasks, the one served longest ago first."""
        self.unknown_settles = 0
        """Settles of tasks that the ledger does not know (any more)."""
        self.heard: dict[Owner, None] = {}
        """Owners whose outbox has grown since the broker last looked."""
        self.noted: list[tuple[str, Task, str]] = []
        """What an operator wants to read: (event in the past tense, task, cause), until the broker clears it."""
        self.window_bytes = WINDOW_BYTES
        """How many more bytes of payloads stay in memory; beyond it the store alone has them."""
        self.unread: list[Task] = []
        """Tasks to be buried whose payloads only the store has: the broker reads them before it commits."""
        self._jitter = jitter
        self._next_key = first_key
        self._new: list[Task] = []
        self._changes: dict[int, Change] = {}
        """Tasks submitted in the present cycle (`_new`), and what it has decided for those that were there before."""
        self.delayed: Deadlines[Task] = Deadlines()
        """Delayed tasks by the moment at which they become ready."""
        self.kept = Kept()
        """Settled tasks whose results are kept."""
        self._leases = Leases()
        self._to_store: list[Task] = []
        """Held tasks whose leases the next commit stores."""

    # -- decide --------------------------------------------------------------------------------

    def check_room(self, envelope: Envelope, count: int) -> None:
        """Room for a result is reserved with its task: raises TasksFull if so many more are too many in all."""
        if len(self.tasks) + len(self._new) + count > self.rules.tasks_max:
            envelope.tally.count(envelope.tally.rejected, "kept")
            raise TasksFull(f"the master keeps {len(self.tasks):,} tasks and results, of {self.rules.tasks_max:,}.")

    def submit(self, envelope: Envelope, bodies: Sequence[bytes], owner: Owner | None, now: float) -> int:
        """Take new tasks, all or none, and return the first one's key; the others follow it without gaps.

        Raises QueueFull or PayloadTooLarge, and then nothing was taken.
        """
        queue = envelope.queue
        if queue.room < len(bodies):
            envelope.tally.count(envelope.tally.rejected, "full")
            raise QueueFull(f"the queue {queue.name!r} has room for {max(queue.room, 0)} of {len(bodies)} tasks")
        limit = self.rules.payload_bytes_max
        if max(map(len, bodies), default=0) > limit:
            envelope.tally.count(envelope.tally.rejected, "payload")
            raise PayloadTooLarge(f"a payload of {max(map(len, bodies))} bytes; the limit is {limit}")
        first = self._next_key
        self._next_key += len(bodies)
        self._new += [Task(key, envelope, body, owner, now) for key, body in enumerate(bodies, first)]
        queue.reserved += len(bodies)
        return first

    def settle(self, key: int, delivery: int, outcome: int, body: bytes | None, run_s: float, cause: str = "") -> bool:
        """Answer the lease `delivery` of a task.

        False: the task already changes in this cycle, so the same settle must come again in the next one.
        A late success counts if the task is not settled yet; a late failure or release changes nothing.
        """
        task = self.tasks.get(key)
        if task is None:
            self.unknown_settles += 1
            return True
        if key in self._changes:
            return False
        current = task.state == LEASED and task.delivery == delivery
        if not current:
            task.envelope.tally.count(task.envelope.tally.late, OUTCOME_NAMES[outcome])
            if outcome != Outcome.SUCCESS or moves.NEXT[moves.SUCCEED][task.state] < 0:
                return True
        if outcome == Outcome.SUCCESS:
            self._changes[key] = Change(moves.SUCCEED, task, body, run_s)
        elif outcome in (Outcome.RELEASED, Outcome.UNKNOWN):
            self._changes[key] = Change(moves.GIVE_BACK, task)
        else:
            self._changes[key] = self._after_failure(task, outcome, body or b"", cause)
        return True

    def succeeds(self, key: int) -> bool:
        """Whether the present cycle has decided that the task succeeds."""
        return (change := self._changes.get(key)) is not None and change.event == moves.SUCCEED

    def _after_failure(self, task: Task, outcome: int, error: bytes, cause: str) -> Change:
        reason = "timeout" if outcome == Outcome.TIMEOUT else "failure"
        if outcome == Outcome.FATAL or task.failures >= task.envelope.retries:
            return self._bury(task, error, cause, reason)
        delay_s = self.rules.backoff.delay_s(task.failures + 1, self._jitter)
        return Change(moves.RETRY, task, due_at=delay_s, cause=cause, reason=reason)

    def _bury(self, task: Task, error: bytes, cause: str, reason: str) -> Change:
        if task.body is None:
            self.unread.append(task)
        return Change(moves.BURY, task, error, cause=cause, reason=reason)

    def lose(self, holder: Holder, reason: str, cause: str, running: int | None = None) -> bool:
        """End all leases of `holder`, which died or fell silent.

        With `running` (a key) that task alone was being run and is counted as lost; without, each may have
        been. `reason` is a word for the metrics, `cause` a phrase for the task's history. False: some of the
        tasks already change in this cycle, so the same must be asked again in the next one.
        """
        complete = True
        for key, task in holder.held.items():
            if key in self._changes:
                complete = False
            elif running is not None and key != running:
                self._changes[key] = Change(moves.GIVE_BACK, task)
            elif task.lost + 1 >= task.envelope.max_deliveries:
                self._changes[key] = self._bury(task, b"", cause, reason)
            else:
                self._changes[key] = Change(moves.LOSE, task, cause=cause, reason=reason)
        return complete

    def settle_dead(self, key: int, event: int) -> bool:
        """Have a dead letter tried again as if it had never failed (REQUEUE; its body must be there), or go (DROP).

        False: it is not dead, or changes in this cycle already.
        """
        task = self.dead.get(key)
        if task is None or key in self._changes:
            return False
        arguments = head.unpack_dead(task.body or b"").arguments if event == moves.REQUEUE else None
        self._changes[key] = Change(event, task, arguments)
        return True

    def sweep(self, now: float, most: int = 10_000) -> None:
        """Note what is due at `now`: delayed tasks get ready, results whose TTL is over go."""
        held_up: list[Task] = []
        for at, task in self.delayed.due(now):
            if task.state == DELAYED and task.due_at == at:
                if task.id in self._changes:
                    held_up.append(task)
                else:
                    self._changes[task.id] = Change(moves.DUE, task)
        for task in held_up:
            self.delayed.add(task.due_at, task)
        self._to_store += self._leases.due(now)
        for task in self.kept.over(now, most):
            self._changes[task.id] = Change(moves.DROP, task)  # nothing else can happen to it

    def next_deadline(self) -> float | None:
        """When `sweep` next has something to do, None if nothing is waiting for a moment."""
        moments = (self.delayed.next_at(), self.kept.next_at(), self._leases.next_at())
        return min((at for at in moments if at is not None), default=None)

    # -- commit --------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether anything was decided since the last `apply` or `forget`."""
        return bool(self._new or self._changes or self._to_store)

    def batch(self, now: float) -> dict[int, Row]:
        """What the store must keep of the decided changes, as heads and bodies will be after `apply(now)`."""
        return rows_of(self._new, self._to_store, self._changes, now)

    def forget(self) -> None:
        """Drop what was decided: the store refused it, so nothing happened."""
        for task in self._new:
            task.envelope.queue.reserved -= 1
        for event, task, *_ in self._changes.values():
            if event == moves.DUE:
                self.delayed.add(task.due_at, task)
        self._new.clear()
        self._changes.clear()

    # -- apply ---------------------------------------------------------------------------------

    def apply(self, now: float) -> None:
        """Let the decided changes happen."""
        new, self._new = self._new, []
        for task in new:
            self._add(task)
        self._to_store.clear()
        changes, self._changes = self._changes, {}
        returned: list[Task] = []
        for change in changes.values():
            event = change.event
            if event == moves.SUCCEED:
                self._succeed(change, now)
            elif event == moves.DROP:
                self._drop(change.task)
            else:
                self._turn(change, event, now, returned)
        returned.sort(key=attrgetter("id"), reverse=True)  # so that those given back together stay in submit order
        self._put_back(returned)

    def _add(self, task: Task) -> None:
        envelope = task.envelope
        queue = envelope.queue
        queue.reserved -= 1
        queue.counts[READY] += 1
        envelope.tally.submitted += 1
        self.tasks[task.id] = task
        queue.lane(envelope.name).push(task)
        self.ready_queues[queue] = None
        if task.body is not None:
            self.window_bytes -= len(task.body)
            if self.window_bytes < 0:
                self.window_bytes += len(task.body)
                task.body = None

    def _succeed(self, change: Change, now: float) -> None:
        task = change.task
        envelope = task.envelope
        self._release(task)
        moves.move(task, moves.SUCCEED)
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

    def _end(self, task: Task, now: float) -> None:
        """A task has come to its one terminal state: tell its owner, and keep what must be kept."""
        task.since = now
        owner = task.owner
        if owner is not None:
            task.owner = None
            owner.outbox.append(task)
            self.heard[owner] = None
        else:
            task.body = None  # nobody waits for it: whoever asks for it is given it from the store
        if task.envelope.kind == PLAIN and task.state == SUCCEEDED:
            self._drop(task)  # its result, if it has one, is an item of its own on the result queue
        elif task.state != DEAD:
            self.kept.add(task)

    def _drop(self, task: Task) -> None:
        moves.move(task, moves.DROP)
        task.envelope.queue.counts[task.state] = 0  # nobody counts what is gone
        del self.tasks[task.id]
        if self.dead.pop(task.id, None) is not None:
            hold(self, task, None)
        self.kept.drop(task)

    def _turn(self, change: Change, event: int, now: float, returned: list[Task]) -> None:
        """Everything but success: the task waits, is dead, or is noted among those to put back in line."""
        task = change.task
        envelope = task.envelope
        tally = envelope.tally
        self._release(task)
        moves.move(task, event)
        task.since = now
        if change.cause:
            task.causes = causes_after(change)
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
        elif event == moves.RETRY:
            tally.retries += 1
            task.due_at = now + change.due_at
            self.delayed.add(task.due_at, task)
        else:
            if event == moves.GIVE_BACK:
                tally.attempts["returned"] += 1
            if event == moves.REQUEUE:
                del self.dead[task.id]
                tally.requeued += 1
                hold(self, task, change.body)  # and its causes stay: they tell why it was dead before
                task.failures = task.lost = 0
            if event in (moves.DUE, moves.REQUEUE):
                envelope.queue.lane(envelope.name).push(task)
            else:
                returned.append(task)
            self.ready_queues[envelope.queue] = None

    def _release(self, task: Task) -> None:
        if (holder := task.holder) is not None:
            del holder.held[task.id]
            task.holder = None

    # -- lease ---------------------------------------------------------------------------------

    def lease(
        self, holder: Holder, queues: Iterable[Queue], wanted: Callable[[str], bool], want: int, now: float
    ) -> list[Task]:
        """Give `holder` up to `want` ready tasks of these queues whose names are `wanted`.

        A task that was lost goes only to a holder that holds nothing else, which then gets nothing beside it.
        """
        leased: list[Task] = []
        busy = bool(holder.held)
        if busy and any(task.lost for task in holder.held.values()):
            return leased
        for queue in queues:
            if queue not in self.ready_queues:
                continue
            taken = queue.take(wanted, want - len(leased))
            if (leased or busy) and taken and taken[0].lost:
                self._put_back(taken)
                continue
            leased += taken
            if not queue.counts[READY] - len(taken):
                del self.ready_queues[queue]
            elif taken:
                self.ready_queues[queue] = self.ready_queues.pop(queue)
            if taken:
                self._hand_over(taken, holder, now)
                if len(leased) >= want or taken[0].lost:
                    break
        return leased

    def _put_back(self, taken: list[Task]) -> None:
        """Put tasks first in line again, the last one foremost."""
        for task in taken:
            task.envelope.queue.lane(task.envelope.name).push_front(task)

    def _hand_over(self, taken: list[Task], holder: Holder, now: float) -> None:
        held = holder.held
        for task in taken:
            moves.move(task, moves.LEASE)
            task.delivery += 1
            task.holder = holder
            task.leased_at = now
            held[task.id] = task
            task.envelope.tally.wait.observe(now - task.since)
            task.since = now
        self._leases.add(now, taken)

    def reclaim(self, holder: Holder, key: int, delivery: int) -> bool:
        """Let a reconnected executor go on with a lease that it still holds; False if that lease has ended."""
        task = self.tasks.get(key)
        if task is None or key in self._changes or task.state != LEASED or task.delivery != delivery:
            return False
        self._release(task)
        task.holder = holder
        holder.held[key] = task
        return True
