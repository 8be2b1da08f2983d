"""From a store's heads to the ledger's tasks: what a restarted master knows again.

Tasks whose lease was stored wait, as leased, for their executors to come back; all others that were live are
ready or delayed as they stood. Deliveries that were given and not stored cannot be known, so the numbers go on
far above them: an answer to one of those never looks like an answer to a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from distq.core import head, moves
from distq.core.task import DEAD, DELAYED, DELIVERIES_SKIPPED, LEASED, LIVE_STATES, READY, Envelope, Holder, Task

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.names import Names
    from distq.core.ports import Heads


class Loader:
    """Gathers the runs of heads that `Store.follow` gives; later ones replace earlier ones."""

    def __init__(self, names: Names) -> None:
        self.rows: dict[int, bytes] = {}
        """Heads under negative keys: not tasks, but what else must be known again."""
        self._names = names
        self._heads: dict[int, bytes] = {}
        self._envelopes: dict[bytes, Envelope] = {}

    def feed(self, heads: Heads) -> None:
        """Take a run of heads; None drops a key."""
        for key, stored in heads:
            known = self._heads if key >= 0 else self.rows
            if stored is None:
                known.pop(key, None)
            else:
                known[key] = stored

    def tasks(self) -> Iterator[Task]:
        """The tasks in submit order; raises ValueError for a head of another version."""
        heads, self._heads = self._heads, {}
        for key in sorted(heads):
            yield self._task(key, heads[key])

    def _task(self, key: int, stored: bytes) -> Task:
        numbers, expires_at, packed = head.split(stored)
        envelope = self._envelopes.get(packed)
        if envelope is None:
            envelope = self._envelopes[packed] = self._envelope(stored)
        state, delivery, failures, lost, submitted_at, since, due_at = numbers
        task = Task(key, envelope, None, None, submitted_at)
        task.delivery = delivery if state == LEASED else delivery + DELIVERIES_SKIPPED
        task.failures, task.lost = failures, lost
        task.since, task.due_at, task.expires_at = since, due_at, expires_at
        moves.restore(task, state)
        return task

    def _envelope(self, stored: bytes) -> Envelope:
        known = head.unpack(stored)
        return self._names.envelope(
            known.queue,
            known.name,
            known.kind,
            priority=known.priority,
            retries=known.retries,
            time_limit_s=known.time_limit_s,
            result_ttl_s=known.result_ttl_s,
            max_deliveries=known.max_deliveries,
        )


def restore(ledger: Ledger, tasks: Iterable[Task], now: float) -> Holder:
    """Give a new ledger the tasks that a store had, in submit order.

    Where the machine's clock was set back meanwhile, what was stored after `now` is taken to have happened now:
    pauses and kept results last as long as they were meant to, not longer by the step.

    Returns who holds those whose leases were stored, until their executors come back and `reclaim` them.
    """
    absent = Holder("an executor from before the restart")
    ended = []
    for task in tasks:
        ledger.tasks[task.id] = task
        if task.since > now:
            task.due_at -= task.since - now
            if task.expires_at is not None:
                task.expires_at -= task.since - now
            task.since = now
            task.submitted_at = min(task.submitted_at, now)
        queue = task.envelope.queue
        if task.expires_at is not None and task.state in LIVE_STATES:
            ledger.expiring.add(task.expires_at, task)
        if task.state == READY:
            queue.lane(task.envelope.name).push(task)
            ledger.ready_queues[queue] = None
        elif task.state == DELAYED:
            ledger.delayed.add(task.due_at, task)
        elif task.state == LEASED:
            task.holder = absent
            absent.held[task.id] = task
        else:
            ended.append(task)
    for task in sorted(ended, key=_since):
        if task.state == DEAD:
            ledger.dead[task.id] = task
        else:
            ledger.kept.add(task)
    return absent


def _since(task: Task) -> float:
    return task.since
