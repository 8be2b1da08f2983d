"""From a store's heads to the ledger's tasks: what a restarted master knows again.

Tasks whose lease was stored wait, as leased, for their executors to come back; all others that were live are
ready or delayed as they stood. Tasks that had ended while an executor ran them keep their places until it is known
that it has stopped. Deliveries that were given and not stored cannot be known, so the numbers go on far above them:
an answer to one of those never looks like an answer to a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from distq.core import head, moves
from distq.core.checkpoints import CURSORS
from distq.core.constraints import NO_CONSTRAINTS
from distq.core.envelope import Envelope
from distq.core.policy import POLICIES
from distq.core.schedule import SCHEDULES
from distq.core.states import CANCELLED, DEAD, DELAYED, LEASED, LIVE_STATES, READY, SUCCEEDED
from distq.core.stream_parts import PARTS
from distq.core.task import DELIVERIES_SKIPPED, Holder, Task

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import Heads
    from distq.core.registry import Registry
    from distq.core.state import LedgerState


class Loader:
    """Gathers the runs of heads that `Store.follow` gives; later ones replace earlier ones."""

    def __init__(self, names: Registry) -> None:
        self.sessions: dict[int, bytes] = {}
        """Rows of client sessions, and ..."""
        self.policies: dict[int, bytes] = {}
        """... of what operators have changed of queues, and ..."""
        self.cursors: dict[int, bytes] = {}
        """... of cursors, ..."""
        self.parts: dict[int, bytes] = {}
        """... of parts of streams, ..."""
        self.schedules: dict[int, bytes] = {}
        """... of schedules, by their keys, which are negative."""
        self._registry = names
        self._heads: dict[int, bytes] = {}
        self._envelopes: dict[bytes, Envelope] = {}

    def feed(self, heads: Heads) -> None:
        """Take a run of heads; None drops a key."""
        for key, stored in heads:
            known = self._heads if key >= 0 else self._rows_of(key)
            if stored is None:
                known.pop(key, None)
            else:
                known[key] = stored

    def _rows_of(self, key: int) -> dict[int, bytes]:
        if key > PARTS:
            return self.sessions
        if key > CURSORS:
            return self.parts
        if key > SCHEDULES:
            return self.cursors
        return self.schedules if key > POLICIES else self.policies

    @property
    def unread(self) -> list[int]:
        """Keys of rows whose bodies must be known too: cursors and schedules."""
        return [*self.cursors, *self.schedules]

    def tasks(self) -> Iterator[Task]:
        """The tasks in submit order; raises ValueError for a head of another version."""
        heads, self._heads = self._heads, {}
        for key in sorted(heads):
            yield self._task(key, heads[key])

    def _task(self, key: int, stored: bytes) -> Task:
        numbers, expires_at, constraints, packed = head.split(stored)
        envelope = self._envelopes.get(packed)
        if envelope is None:
            envelope = self._envelopes[packed] = self._envelope(stored)
        state, delivery, failures, lost, submitted_at, since, due_at = numbers
        task = Task(key, envelope, None, None, submitted_at)
        task.delivery = delivery if state == LEASED or _runs_on(state, due_at) else delivery + DELIVERIES_SKIPPED
        task.failures, task.lost = failures, lost
        task.state_since_at, task.due_at, task.expires_at, task.constraints = since, due_at, expires_at, constraints
        moves.restore(task, state)
        return task

    def _envelope(self, stored: bytes) -> Envelope:
        known = head.unpack(stored)
        return self._registry.envelope(
            known.queue,
            known.name,
            known.kind,
            priority=known.priority,
            retries=known.retries,
            time_limit_s=known.time_limit_s,
            result_ttl_s=known.result_ttl_s,
            max_deliveries=known.max_deliveries,
            requires=known.requires,
            cost=known.cost,
        )


def restore(ledger: Ledger, loader: Loader, now: float) -> Holder:
    """Give a new ledger the tasks that a store had, in submit order, and what operators have changed of queues.

    Where the machine's clock was set back meanwhile, what was stored after `now` is taken to have happened now:
    pauses and kept results last as long as they were meant to, not longer by the step.

    Returns who holds those whose leases were stored, until their executors come back and `reclaim` them; and those that
    have ended and may run on.
    """
    state = ledger.state
    absent = Holder("an executor from before the restart")
    ended = []
    for key, row in loader.policies.items():
        ledger.policies.restore(key, row, now)
    for task in loader.tasks():
        state.tasks[task.task_key] = task
        if _runs_on(task.state, task.due_at) and task.lease_bound:
            state.orphaned_runs.add(task, absent)
        if task.state_since_at > now:
            _happened_now(task, now)
        if task.constraints is not NO_CONSTRAINTS:
            _know_keys(state, task)
        if task.state in LIVE_STATES:
            _goes_on(state, task, absent)
        else:
            ended.append(task)
    for task in state.tasks.values():
        if task.state == READY:  # now that it is known which of its key are leased, and which before it live
            state.enqueue(task, now)
    _keep(state, ended)
    return absent


def restore_extras(ledger: Ledger, loader: Loader, bodies: Mapping[int, bytes]) -> list[int]:
    """Restore the cursors and the parts of streams; returns the keys of rows whose tasks are gone, to be dropped."""
    state = ledger.state
    stray = state.checkpoints.restore(loader.cursors, bodies, state.tasks)
    return stray + state.stream_parts.restore(loader.parts, state.tasks)


def _keep(state: LedgerState, ended: list[Task]) -> None:
    """What has ended is kept, in the order in which it did."""
    for task in sorted(ended, key=_since):
        if task.state == DEAD:
            state.dead[task.task_key] = task
        elif task.task_key not in state.dependencies.followers and not state.orphaned_runs.is_running(task):
            state.retained.add(task)


def _goes_on(state: LedgerState, task: Task, absent: Holder) -> None:
    """A live task waits for its moment, or for its executor."""
    if task.expires_at is not None:
        state.expiring.add(task.expires_at, task)
    if task.state == DELAYED:
        state.delayed.add(task.due_at, task)
    elif task.state == LEASED:
        task.leased_at = task.state_since_at
        task.holder = absent
        absent.held[task.task_key] = task


def _runs_on(state: int, due_at: float) -> bool:
    """Whether a task had ended while an executor ran it, and that executor is not known to have stopped."""
    return state in (SUCCEEDED, CANCELLED) and due_at == head.RUNS_ON


def _happened_now(task: Task, now: float) -> None:
    """The clock was set back behind what had happened to the task last."""
    if task.due_at:
        task.due_at -= task.state_since_at - now
    if task.expires_at is not None:
        task.expires_at -= task.state_since_at - now
    task.state_since_at = now
    task.submitted_at = min(task.submitted_at, now)


def _know_keys(state: LedgerState, task: Task) -> None:
    """A task with keys of its own is there again."""
    queue, constraints = task.envelope.queue, task.constraints
    if constraints.depends_on is not None and task.state in (*LIVE_STATES, DEAD):
        state.dependencies.add(task, constraints.depends_on)
    if constraints.unique_key and (task.state in LIVE_STATES or constraints.unique_for_s is not None):
        queue.take_unique(task)
    if constraints.concurrency_key and (task.state == LEASED or state.orphaned_runs.is_running(task)):
        queue.concurrency_keys.is_in_flight(task)


def _since(task: Task) -> float:
    return task.state_since_at
