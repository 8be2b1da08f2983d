"""Loading: a restarted master builds the ledger's tasks from the heads in the store.

A task whose lease was stored stays leased until its executor reconnects; every other live task keeps the state that
the store has. A task that ended while an executor ran it still counts as running, until the master learns that the
executor has stopped. The store does not have every delivery number that was used, so new numbers start far above
the stored ones: the master then never takes the outcome of an old delivery for the outcome of a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Final

from distq.core import head, moves
from distq.core.checkpoints import CURSORS
from distq.core.constraints import NO_CONSTRAINTS
from distq.core.errors import DistqError
from distq.core.policy import POLICIES, unpack_policy
from distq.core.ports import StoreError
from distq.core.schedule import SCHEDULES
from distq.core.states import CANCELLED, DEAD, DELAYED, LEASED, LIVE_STATES, READY, SUCCEEDED
from distq.core.stream_parts import PARTS, read_part_head
from distq.core.task import DELIVERIES_SKIPPED, Envelope, Holder, Task
from distq.core.task_ids import id_text

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import Heads
    from distq.core.registry import Registry
    from distq.core.state import LedgerState

UNFINISHED_COPY: Final = (1 << 63) - 1
"""The key of the row that marks a store to which `distq store copy` has not copied all rows; no task has this key."""


class UnreadableRow(StoreError):
    """A row of the store has another form than this distq reads: a later version wrote it, or it is damaged."""

    code = "STORE_UNREADABLE"
    hint = (
        "If a later version of distq wrote the store, start that version. Otherwise the row is damaged: restore a "
        "backup, or copy what can be read with `distq store salvage`."
    )


ENVELOPES_KEPT_MAX: Final = 10_000
"""Maximum envelopes that a loader finds by their stored bytes; a standby may follow tasks with ever new options."""


class Loader:
    """Makes tasks of the heads that `Store.follow` yields; a later head of a key replaces an earlier one.

    A standby makes the tasks while it follows the leader, so that a takeover only has to put them in their places.
    """

    def __init__(self, registry: Registry) -> None:
        self.sessions: dict[int, bytes] = {}
        """Rows of client sessions, by their negative keys."""
        self.policies: dict[int, bytes] = {}
        """Rows of the operators' queue policies, by their negative keys."""
        self.cursors: dict[int, bytes] = {}
        """Rows of checkpoint cursors, by their negative keys."""
        self.parts: dict[int, bytes] = {}
        """Rows of stream parts, by their negative keys."""
        self.schedules: dict[int, bytes] = {}
        """Rows of schedules, by their negative keys."""
        self._registry = registry
        self._tasks: dict[int, Task] = {}
        self._unreadable: dict[int, ValueError | head.NameTooLong] = {}
        """Why heads cannot be read: a leader that a standby follows may be of a later release."""
        self._is_unfinished_copy = False
        self._envelopes: dict[bytes, Envelope] = {}

    def feed(self, heads: Heads) -> None:
        """Add a sequence of heads; None as the head drops its key."""
        tasks = self._tasks
        for key, stored in heads:
            if key < 0:
                rows = self._rows_of(key)
                if stored is None:
                    rows.pop(key, None)
                else:
                    rows[key] = stored
            elif key == UNFINISHED_COPY:
                self._is_unfinished_copy = stored is not None
            elif stored is None:
                tasks.pop(key, None)
                self._unreadable.pop(key, None)
            else:
                try:
                    tasks[key] = self._task(key, stored)
                except (ValueError, head.NameTooLong) as exc:
                    self._unreadable[key] = exc
                else:
                    self._unreadable.pop(key, None)
        if len(self._envelopes) > ENVELOPES_KEPT_MAX:
            self._envelopes.clear()

    def _rows_of(self, key: int) -> dict[int, bytes]:
        if key > PARTS:
            return self.sessions
        if key > CURSORS:
            return self.parts
        if key > SCHEDULES:
            return self.cursors
        return self.schedules if key > POLICIES else self.policies

    @property
    def keys_of_bodies(self) -> list[int]:
        """Keys of the rows whose bodies the master must also read: cursors and schedules."""
        return [*self.cursors, *self.schedules]

    def take(self) -> dict[int, Task]:
        """Return the tasks in submit order, once.

        Raises:
            UnreadableRow: this distq cannot read a row.
            StoreError: not all rows were copied to this store.
        """
        if self._is_unfinished_copy:
            raise StoreError(
                "The store has only a part of its tasks, because `distq store copy` was interrupted: repeat that "
                "command, or name another store in DISTQ_STORE."
            )
        for key, exc in self._unreadable.items():
            raise UnreadableRow(f"Task {id_text(key)} in the store cannot be read: {exc}.") from exc
        tasks, self._tasks = self._tasks, {}
        keys = sorted(tasks)
        return tasks if keys == list(tasks) else {key: tasks[key] for key in keys}

    def _task(self, task_key: int, stored: bytes) -> Task:
        numbers, expires_at, constraints, envelope_bytes = head.split(stored)
        envelope = self._envelopes.get(envelope_bytes)
        if envelope is None:
            envelope = self._envelopes[envelope_bytes] = self._envelope(stored)
        state, delivery, failures, lost, submitted_at, state_since_at, due_at = numbers
        task = Task(task_key, envelope, None, None, submitted_at)
        task.delivery = delivery if state == LEASED or _may_still_run(state, due_at) else delivery + DELIVERIES_SKIPPED
        task.failures, task.lost = failures, lost
        task.state_since_at, task.due_at = state_since_at, due_at
        task.expires_at, task.constraints = expires_at, constraints
        task.state = state
        return task

    def _envelope(self, stored: bytes) -> Envelope:
        fields = head.unpack(stored)
        return self._registry.envelope(
            fields.queue,
            fields.name,
            fields.kind,
            priority=fields.priority,
            retries=fields.retries,
            time_limit_s=fields.time_limit_s,
            result_ttl_s=fields.result_ttl_s,
            max_deliveries=fields.max_deliveries,
            requires=fields.requires,
            cost=fields.cost,
            key_name=fields.key_name,
            stored=True,
        )


def restore(ledger: Ledger, loader: Loader, now: float) -> Holder:
    """Give a new ledger the stored tasks, in submit order, and the stored policies of operators.

    If the machine's clock was set back, the last change of a task becomes `now`, and its other instants move back by
    the same step: delays and retained results last as long as if the clock had not been changed.

    Returns the holder of all tasks whose leases were stored, until their executors reconnect and `reclaim` them. The
    same holder has the tasks that ended while their executors may still run them.
    """
    state = ledger.state
    former_holder = Holder("an executor from before the restart")
    ended = []
    for row_key, row in loader.policies.items():
        with _readable("The limits of a queue"):
            ledger.policies.restore(row_key, row, now)
    tasks = loader.take()
    state.tasks.update(tasks)
    ready: list[Task] = []
    for task in tasks.values():
        task.envelope.key_tasks.kept += 1
        if task.state == READY and task.constraints is NO_CONSTRAINTS and task.expires_at is None:
            ready.append(task)
            if task.state_since_at > now:
                _move_instants_back(task, now)
            continue
        moves.restore(task, task.state)
        if _may_still_run(task.state, task.due_at) and task.lease_bound:
            state.orphaned_runs.add(task, former_holder)
        if task.state_since_at > now:
            _move_instants_back(task, now)
        if task.constraints is not NO_CONSTRAINTS:
            _register_keys(state, task)
        if task.state == READY:
            ready.append(task)
        if task.state in LIVE_STATES:
            _restore_live(state, task, former_holder)
        else:
            ended.append(task)
    _restore_ready(state, ready, now)  # last: all leases of its key are counted, and its dependencies are loaded
    _restore_ended(state, ended)
    return former_holder


def restore_extras(ledger: Ledger, loader: Loader, bodies: Mapping[int, bytes]) -> list[int]:
    """Restore the cursors and the parts of streams; returns the keys of rows whose tasks are gone, to be dropped."""
    state = ledger.state
    with _readable("A checkpoint or a part of a stream"):
        keys_without_task = state.checkpoints.restore(loader.cursors, bodies, state.tasks)
        return keys_without_task + state.stream_parts.restore(loader.parts, state.tasks)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Raise UnreadableRow in place of what the reader of a damaged row raises."""
    try:
        yield
    except DistqError:
        raise
    except Exception as exc:
        raise UnreadableRow(f"{what} in the store cannot be read: {exc!r}.") from exc


def is_readable(key: int, stored: bytes) -> bool:
    """Whether a master can load the row with this head: a task, or the limits of a queue, or another row."""
    try:
        if key >= 0:
            fields = head.unpack(stored)
            head.check_names(fields.queue, fields.name, fields.requires)
        elif key < POLICIES:
            unpack_policy(stored)
        elif key < PARTS and not key < CURSORS:
            read_part_head(stored)
    except Exception:  # noqa: BLE001 - as `_readable`: a damaged row raises what its reader does not expect
        return False
    return True


def _restore_ready(state: LedgerState, ready: Iterable[Task], now: float) -> None:
    """Enqueue ready tasks in their order; those of one envelope that need nothing else together."""
    for envelope, run in groupby(ready, _plain_envelope):
        if envelope is None:
            for task in run:
                state.enqueue(task, now)
            continue
        tasks, queue = list(run), envelope.queue
        queue.counts[READY] += len(tasks)
        queue.enqueue_all(envelope, tasks)
        state.ready_queues[queue] = None


def _plain_envelope(task: Task) -> Envelope | None:
    """The envelope of a ready task without constraints and expiry, whose place needs no look at other tasks."""
    return task.envelope if task.constraints is NO_CONSTRAINTS and task.expires_at is None else None


def _restore_ended(state: LedgerState, ended: list[Task]) -> None:
    """Keep the ended tasks and the dead letters, in the order in which they ended."""
    for task in sorted(ended, key=_state_since_at):
        if task.state == DEAD:
            state.dead[task.task_key] = task
        elif task.task_key not in state.dependencies.followers and not state.orphaned_runs.is_running(task):
            state.retained.add(task)


def _restore_live(state: LedgerState, task: Task, former_holder: Holder) -> None:
    """Register a live task: it waits for its expiry, for the end of its delay, or for its executor."""
    if task.expires_at is not None:
        state.expiring.add(task.expires_at, task)
    if task.state == DELAYED:
        state.delayed.add(task.due_at, task)
    elif task.state == LEASED:
        task.leased_at = task.state_since_at
        task.holder = former_holder
        former_holder.held[task.task_key] = task


def _may_still_run(state: int, due_at: float) -> bool:
    """Whether a task ended while an executor ran it, and the store does not show that the executor has stopped."""
    return state in (SUCCEEDED, CANCELLED) and due_at == head.RUNS_ON


def _move_instants_back(task: Task, now: float) -> None:
    """Move the task's instants back, because the clock was set back to before its last change."""
    if task.due_at:
        task.due_at -= task.state_since_at - now
    if task.expires_at is not None:
        task.expires_at -= task.state_since_at - now
    task.state_since_at = now
    task.submitted_at = min(task.submitted_at, now)


def _register_keys(state: LedgerState, task: Task) -> None:
    """Register a loaded task with its dependencies and its keys."""
    queue, constraints = task.envelope.queue, task.constraints
    if constraints.headers:
        state.idempotent.add(task)
    if constraints.depends_on is not None and task.state in (*LIVE_STATES, DEAD):
        state.dependencies.add(task, constraints.depends_on)
    if constraints.unique_key and (task.state in LIVE_STATES or constraints.unique_for_s is not None):
        queue.take_unique(task)
    if constraints.concurrency_key and (task.state == LEASED or state.orphaned_runs.is_running(task)):
        queue.concurrency_keys.count_in_flight(task)


def _state_since_at(task: Task) -> float:
    return task.state_since_at
