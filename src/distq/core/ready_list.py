"""Lists of ready tasks, by priority, then in the order in which they were submitted.

A task has an envelope, and an envelope has a queue. So that no module imports another that imports it, lists and queues
are generic: they declare what they read of a task, and `distq.core.task` says that a `Queue[Task]` holds its tasks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from distq.core.option_values import NO_LABELS, PRIORITIES
from distq.core.states import READY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.constraints import TaskConstraints


class ListedEnvelope(Protocol):
    """What lists and queues read of an envelope."""

    name: str
    priority: int
    requires: frozenset[str]
    cost: int


class ListedTask(Protocol):
    """What lists and queues read of a task."""

    task_key: int
    state: int
    lost: int
    submitted_at: float
    constraints: TaskConstraints

    @property
    def envelope(self) -> ListedEnvelope:
        """The task's envelope."""


TaskT = TypeVar("TaskT", bound=ListedTask)
Offer = tuple[int, int, int, "PriorityList[TaskT]"]
"""The offer of a list: its first task's negated priority and key; a number unique among offers; the list."""

STALE_MAX: Final = 1_000
"""Maximum tasks in a list that have left its state; above it they are dropped once they are more than half of it."""


class PriorityList(Generic[TaskT]):
    """Tasks that are all in one state: a deque for each priority, and a bit of `mask` for each that is not empty."""

    __slots__ = (
        "_stale_count",
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
        """Labels that a worker must have to take from it."""
        self.cost = cost
        """Number of slots that each of its tasks takes."""
        self._state = state
        self.paused = False
        """Whether no task may be taken from it."""
        self.deques: list[deque[TaskT]] = [deque() for _ in range(PRIORITIES)]
        self.mask = 0
        self._stale_count = 0
        self.offer: Offer[TaskT] | None = None
        """Its valid entry among its queue's offers, None if there is none."""
        self.aside = False
        """Whether it is set aside, because no connected worker may take from it."""
        self.examined = -1
        """The generation of workers for which its queue last checked whether a worker may take from it."""

    def __len__(self) -> int:
        """Number of its tasks."""
        return max(sum(map(len, self.deques)) - self._stale_count, 0)

    def push(self, task: TaskT) -> None:
        """Add a task at the end of its priority."""
        priority = task.envelope.priority
        self.deques[priority].append(task)
        self.mask |= 1 << priority

    def extend(self, tasks: Sequence[TaskT]) -> None:
        """Add tasks of one envelope at the end of their priority."""
        priority = tasks[0].envelope.priority
        self.deques[priority].extend(tasks)
        self.mask |= 1 << priority

    def push_front(self, task: TaskT) -> None:
        """Add a task before all others of its priority, because its lease was released."""
        priority = task.envelope.priority
        self.deques[priority].appendleft(task)
        self.mask |= 1 << priority

    def first(self) -> TaskT | None:
        """The next task, which stays in the list; tasks before it that have left the list's state are dropped."""
        while self.mask:
            priority = self.mask.bit_length() - 1
            tasks = self.deques[priority]
            while tasks:
                task = tasks[0]
                if task.state == self._state:
                    return task
                tasks.popleft()
                self._stale_count -= 1
            self.mask &= ~(1 << priority)
        return None

    def discard_one(self) -> None:
        """Count a task that has left the list's state; once such tasks are the greater part, they are dropped."""
        self._stale_count += 1
        if self._stale_count > STALE_MAX and 2 * self._stale_count > sum(map(len, self.deques)):
            self.deques = [deque(task for task in tasks if task.state == self._state) for tasks in self.deques]
            self._stale_count = 0

    def pop(self) -> None:
        """Remove the task that `head` has just returned."""
        self.deques[self.mask.bit_length() - 1].popleft()

    def pop_into(self, chosen: list[TaskT], want: int, other: Offer[TaskT] | None) -> None:
        """Move ready tasks of the highest priority until `chosen` has `want`.

        Stops at a task that was lost, and where the first task of another list's offer is older.
        """
        priority = self.mask.bit_length() - 1
        if other is not None and -priority > other[0]:
            return
        end_key = other[1] if other is not None and -priority == other[0] else None
        tasks = self.deques[priority]
        while tasks and len(chosen) < want:
            task = tasks[0]
            if task.state == READY:
                if task.lost or (end_key is not None and task.task_key > end_key):
                    return
                chosen.append(task)
            else:
                self._stale_count -= 1
            tasks.popleft()
