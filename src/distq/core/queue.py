"""One queue: its ready tasks in order, and how many it has of each state."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from distq.core.task import DEAD, DELAYED, LEASED, PRIORITIES, READY, STATE_NAMES, Task

WORK: Final = "work"
RESULT: Final = "result"
"""Role of a plain queue whose `get` settles at once; taken from a work queue an item is leased."""


LEFT_MAX: Final = 1_000
"""So many tasks that were cancelled, or have expired, may stand in a line before they are cleared away."""


class Lane:
    """The ready tasks of one name: a deque for each priority, and a bit for each that is not empty."""

    __slots__ = ("_left", "deques", "mask", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.deques: list[deque[Task]] = [deque() for _ in range(PRIORITIES)]
        self.mask = 0
        self._left = 0

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
        """The next ready task, which stays; entries that were cancelled or settled meanwhile are dropped here."""
        while self.mask:
            priority = self.mask.bit_length() - 1
            line = self.deques[priority]
            while line:
                task = line[0]
                if task.state == READY:
                    return task
                line.popleft()
            self.mask &= ~(1 << priority)
        return None

    def left(self) -> None:
        """A task in line is ready no more; once they are the greater part, they go: this may be a line of nobody's."""
        self._left += 1
        if self._left > LEFT_MAX and 2 * self._left > sum(map(len, self.deques)):
            self.deques = [deque(task for task in line if task.state == READY) for line in self.deques]
            self._left = 0

    def pop(self) -> None:
        """Take away what `head` just returned."""
        self.deques[self.mask.bit_length() - 1].popleft()

    def pop_into(self, taken: list[Task], want: int) -> None:
        """Move what is ready in the foremost priority until `taken` has `want`; stops at a task that was lost."""
        line = self.deques[self.mask.bit_length() - 1]
        while line and len(taken) < want:
            task = line[0]
            if task.state == READY:
                if task.lost:
                    return
                taken.append(task)
            line.popleft()


class Queue:
    """A named queue. `capacity` bounds its live tasks; `counts` is by state."""

    __slots__ = ("capacity", "counts", "done", "gets", "lanes", "mean_run_s", "name", "reserved", "role")

    def __init__(self, name: str, capacity: int, role: str = WORK) -> None:
        self.name = name
        self.capacity = capacity
        self.role = role
        self.counts = [0] * len(STATE_NAMES)
        self.lanes: dict[str, Lane] = {}
        self.reserved = 0
        """Tasks decided in the present cycle and not yet applied."""
        self.mean_run_s: float | None = None
        """Moving average of how long a successful attempt runs, None until the first."""
        self.gets = 0
        """Plain items ever taken, and ..."""
        self.done = 0
        """... how many `task_done` calls answered them, as `queue.Queue` counts."""

    @property
    def live(self) -> int:
        """Tasks that are ready, delayed or leased."""
        counts = self.counts
        return counts[READY] + counts[DELAYED] + counts[LEASED]

    @property
    def waiting(self) -> int:
        """Tasks that nobody holds: what `queue.Queue.qsize` counts."""
        return self.counts[READY] + self.counts[DELAYED]

    @property
    def room(self) -> int:
        """How many more tasks it takes; dead letters need room too, or they would grow without bound."""
        return self.capacity - self.live - self.counts[DEAD] - self.reserved

    def lane(self, name: str) -> Lane:
        """The lane of `name`, made at first use."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name)
        return lane

    def take(self, wanted: Callable[[str], bool], want: int) -> list[Task]:
        """Take up to `want` ready tasks whose name is `wanted`, by priority, then by age.

        A task that was lost once comes alone: whoever dies next, only one task can have been the reason.
        """
        lanes = [lane for lane in self.lanes.values() if lane.mask and wanted(lane.name)]
        taken: list[Task] = []
        while lanes and len(taken) < want:
            best: Task | None = None
            best_lane = lanes[0]
            for lane in lanes:
                task = lane.head()
                if task is not None and (best is None or _goes_before(task, best)):
                    best, best_lane = task, lane
            if best is None or (taken and best.lost):
                break
            best_lane.pop()
            taken.append(best)
            if best.lost:
                break
            if len(lanes) == 1:
                best_lane.pop_into(taken, want)
        return taken

    def oldest_submitted_at(self) -> float | None:
        """When the task that is first in line was submitted, None if none is ready."""
        heads = [task.submitted_at for lane in self.lanes.values() if (task := lane.head()) is not None]
        return min(heads, default=None)


def _goes_before(task: Task, other: Task) -> bool:
    if task.envelope.priority != other.envelope.priority:
        return task.envelope.priority > other.envelope.priority
    return task.id < other.id
