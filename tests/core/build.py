"""Helpers that build a ledger and tasks for tests, with defaults for what a test does not check."""

import sys

from distq.core import moves
from distq.core.ledger import Ledger
from distq.core.option_values import TASK
from distq.core.queue import Queue
from distq.core.ready_list import PriorityList
from distq.core.registry import Defaults
from distq.core.retry import Backoff
from distq.core.states import DEAD, DELAYED, HELD, LEASED, SUCCEEDED
from distq.core.task import Envelope, Holder, Task

FIRST_KEY = 1 << 40
DEFAULTS = Defaults(backoff=Backoff(1.0, 8.0))
PATHS: dict[int, tuple[int, ...]] = {
    0: (),
    DELAYED: (moves.LEASE, moves.RETRY),
    LEASED: (moves.LEASE,),
    SUCCEEDED: (moves.SUCCEED,),
    DEAD: (moves.LEASE, moves.BURY),
    5: (moves.CANCEL,),
    6: (moves.EXPIRE,),
    7: (moves.CANCEL, moves.DROP),
    HELD: (moves.HOLD,),
}
"""The events that take a new task to each state."""


class AnyWorker:
    """The placement of a master without workers: a new worker could run every ready task."""

    def extra_slots(self, queue: Queue[Task]) -> int:
        """Return 0."""
        return 0

    def longest_run_s(self, queue: Queue[Task]) -> float:
        """Return 0."""
        return 0.0

    def most(self, queue: Queue[Task], ready_list: PriorityList[Task]) -> int:
        """Return a number above that of any queue's tasks."""
        return sys.maxsize


def new_ledger(defaults: Defaults = DEFAULTS) -> Ledger:
    """An empty ledger whose jitter is always in the middle."""
    return Ledger(defaults, lambda: 0.5, FIRST_KEY)


def envelope(ledger: Ledger, queue: str = "q", name: str = "f", kind: str = TASK, priority: int = 5) -> Envelope:
    """An envelope of the ledger with the default options."""
    return ledger.registry.envelope(queue, name, kind, priority=priority)


def submitted(ledger: Ledger, count: int = 1, now: float = 0.0, *, kind: str = TASK, name: str = "f") -> list[int]:
    """Keys of new tasks on queue "q" that are ready."""
    first = ledger.submit(envelope(ledger, kind=kind, name=name), [b"x"] * count, None, now)
    ledger.apply(now)
    return list(range(first, first + count))


def leased(ledger: Ledger, holder: Holder, want: int = 1, now: float = 0.0) -> list[int]:
    """Keys of the tasks that `holder` gets from queue "q", of all names."""
    queue = ledger.registry.queue("q")
    return [task.task_key for task in ledger.leasing.lease(holder, (queue,), lambda name: True, want, now)]


def task_in(state: int) -> Task:
    """A task of its own queue, moved to `state` by legal moves."""
    ledger = new_ledger()
    task = Task(FIRST_KEY, envelope(ledger), b"x", None, 0.0)
    task.envelope.queue.counts[0] = 1
    for event in PATHS[state]:
        moves.move(task, event)
    assert task.state == state
    return task


def order(queue: Queue[Task], want: int = 100) -> list[int]:
    """The keys of up to `want` tasks that the queue gives, in order."""
    return [task.task_key for task in queue.take(lambda name: True, want)]
