"""A line of tasks: by priority, then in the order in which they came."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from distq.core.envelope import NO_LABELS, PRIORITIES
from distq.core.states import READY
from distq.core.task import Task

Offer = tuple[int, int, int, "PriorityList"]
"""What a lane offers: its first task's priority, negated, and key; a number that no two offers have; the lane."""

STALE_MAX: Final = 1_000
"""So many tasks that were cancelled, or have expired, may stand in a line before they are cleared away."""


class PriorityList:
    """A line of tasks that are all in one state: a deque for each priority, and a bit for each that is not empty."""

    __slots__ = (
        "_left",
        "_state",
        "aside",
        "cost",
        "deques",
        "examined",
        "mask",
        "name",
        "offer",
        "paused",
        "requires",
    )

    def __init__(self, name: str, state: int = READY, requires: frozenset[str] = NO_LABELS, cost: int = 1) -> None:
        self.name = name
        self.requires = requires
        """Labels that whoever takes out of it must have."""
        self.cost = cost
        """How many slots each of its tasks takes."""
        self._state = state
        self.paused = False
        """Whether nothing is to be taken out of it."""
        self.deques: list[deque[Task]] = [deque() for _ in range(PRIORITIES)]
        self.mask = 0
        self._left = 0
        self.offer: Offer | None = None
        """Its entry among its queue's offers, None while it has none."""
        self.aside = False
        """Whether no worker that is connected may take out of it."""
        self.examined = -1
        """The generation of workers in which it was last asked whether one may."""

    def __len__(self) -> int:
        """How many tasks stand in it."""
        return max(sum(map(len, self.deques)) - self._left, 0)

    def push(self, task: Task) -> None:
        """Add at the end of its priority."""
        priority = task.envelope.priority
        self.deques[priority].append(task)
        self.mask |= 1 << priority

    def extend(self, tasks: Sequence[Task]) -> None:
        """Add tasks of one envelope at the end of their priority."""
        priority = tasks[0].envelope.priority
        self.deques[priority].extend(tasks)
        self.mask |= 1 << priority

    def push_front(self, task: Task) -> None:
        """Add before all others of its priority: it was first in line once already."""
        priority = task.envelope.priority
        self.deques[priority].appendleft(task)
        self.mask |= 1 << priority

    def head(self) -> Task | None:
        """The next task, which stays; entries that were cancelled or settled meanwhile are dropped here."""
        while self.mask:
            priority = self.mask.bit_length() - 1
            line = self.deques[priority]
            while line:
                task = line[0]
                if task.state == self._state:
                    return task
                line.popleft()
                self._left -= 1
            self.mask &= ~(1 << priority)
        return None

    def discard_one(self) -> None:
        """A task in line belongs there no more; once they are the greater part, they go: this may be nobody's line."""
        self._left += 1
        if self._left > STALE_MAX and 2 * self._left > sum(map(len, self.deques)):
            self.deques = [deque(task for task in line if task.state == self._state) for line in self.deques]
            self._left = 0

    def pop(self) -> None:
        """Take away what `head` just returned."""
        self.deques[self.mask.bit_length() - 1].popleft()

    def pop_into(self, taken: list[Task], want: int, other: Offer | None) -> None:
        """Move what is ready in the foremost priority until `taken` has `want`.

        Stops at a task that was lost, and where another lane's offer goes first.
        """
        priority = self.mask.bit_length() - 1
        if other is not None and -priority > other[0]:
            return
        until = other[1] if other is not None and -priority == other[0] else None
        line = self.deques[priority]
        while line and len(taken) < want:
            task = line[0]
            if task.state == READY:
                if task.lost or (until is not None and task.task_key > until):
                    return
                taken.append(task)
            else:
                self._left -= 1
            line.popleft()
