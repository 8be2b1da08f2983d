"""One queue: its ready tasks in order, how many it has of each state, and what it is allowed to give out."""

import sys
from collections.abc import Callable
from typing import Final

from distq.core.lane import Lane
from distq.core.policy import OPEN, Policy, Window
from distq.core.task import DEAD, DELAYED, HELD, LEASED, NOTHING, READY, STATE_NAMES, Envelope, Task
from distq.core.turns import Turns

WORK: Final = "work"
RESULT: Final = "result"
"""Role of a plain queue whose `get` settles at once; taken from a work queue an item is leased."""


class Queue:
    """A named queue. `capacity` bounds its live tasks; `counts` is by state."""

    __slots__ = (
        "base",
        "capacity",
        "counts",
        "done",
        "gets",
        "lanes",
        "lasts",
        "lingering",
        "mean_run_s",
        "name",
        "own",
        "policy",
        "policy_key",
        "reserved",
        "role",
        "turns",
        "unique",
        "window",
    )

    def __init__(self, name: str, capacity: int, role: str = WORK, base: Policy = OPEN) -> None:
        self.name = name
        self.role = role
        self.base = base.over(Policy(capacity=capacity))
        """Its policy as the settings have it, ..."""
        self.lasts = False
        """Whether more than what an operator has set keeps it: tasks, workers, plain items."""
        self.own = OPEN
        """... what an operator has changed of it, ..."""
        self.policy = OPEN
        """... and both together."""
        self.policy_key: int | None = None
        """Where the store has what an operator has changed, if it has."""
        self.window: Window | None = None
        self.capacity = 0
        self.turns = Turns()
        """Its concurrency keys."""
        self.unique: dict[str, Task] = {}
        """Who has each unique key, or had it last."""
        self.counts = [0] * len(STATE_NAMES)
        self.lanes: dict[tuple[str, frozenset[str], int], Lane] = {}
        """By the task's name, what it requires, and how many slots it takes."""
        self.lingering = 0
        """Tasks that have ended and may still run, of those whose number is limited (`Lingering`)."""
        self.reserved = 0
        """Tasks decided in the present cycle and not yet applied."""
        self.mean_run_s: float | None = None
        """Moving average of how long a successful attempt runs, None until the first."""
        self.gets = 0
        """Plain items ever taken, and ..."""
        self.done = 0
        """... how many `task_done` calls answered them, as `queue.Queue` counts."""
        self.govern(OPEN)

    def govern(self, own: Policy) -> None:
        """Let what an operator has changed take effect."""
        self.own = own
        policy = own.over(self.base)
        if policy.rate != self.policy.rate:
            self.window = None if policy.rate is None else Window(policy.rate)
        self.policy = policy
        self.capacity = policy.capacity or 0
        for lane in self.lanes.values():
            lane.paused = lane.name in policy.paused_names

    def allowance(self, now: float) -> int:
        """How many tasks it may give out at once now; one by one where so many may run, or they would wait in line."""
        policy = self.policy
        if policy.paused:
            return 0
        if policy.running is not None and self.running >= policy.running:
            return 0
        most = sys.maxsize if policy.running is None else 1
        return most if self.window is None else min(most, self.window.left(now))

    def startable(self, now: float, within_s: float) -> int:
        """How many tasks its policy lets begin in the next `within_s` seconds, if none of those that run ends."""
        policy = self.policy
        if policy.paused:
            return 0
        room = sys.maxsize if policy.running is None else max(policy.running - self.running, 0)
        return room if self.window is None else min(room, self.window.within(now, within_s))

    @property
    def fences(self) -> bool:
        """Whether some of its tasks may have to end with their leases (`Task.fenced`)."""
        return bool(self.turns) or self.policy.running is not None

    @property
    def running(self) -> int:
        """Tasks that may run now."""
        return self.counts[LEASED] + self.lingering

    @property
    def live(self) -> int:
        """Tasks that have not ended."""
        counts = self.counts
        return counts[READY] + counts[DELAYED] + counts[LEASED] + counts[HELD]

    @property
    def waiting(self) -> int:
        """Tasks that nobody holds: what `queue.Queue.qsize` counts."""
        return self.counts[READY] + self.counts[DELAYED] + self.counts[HELD]

    @property
    def room(self) -> int:
        """How many more tasks it takes; dead letters need room too, or they would grow without bound."""
        return self.capacity - self.live - self.counts[DEAD] - self.reserved

    def who_has(self, unique: str, now: float) -> Task | None:
        """The task that has a unique key, None if it is free."""
        task = self.unique.get(unique)
        if task is None or (for_s := task.more.unique_for_s) is None:
            return task  # it lets go of it at its end
        return task if now < task.submitted_at + for_s else None

    def give_up(self, task: Task) -> None:
        """A task has its unique key no more."""
        if self.unique.get(task.more.unique) is task:
            del self.unique[task.more.unique]

    def lane(self, envelope: Envelope) -> Lane:
        """The lane of an envelope's tasks, made at first use."""
        key = envelope.name, envelope.requires, envelope.cost
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(envelope.name, READY, envelope.requires, envelope.cost)
            lane.paused = envelope.name in self.policy.paused_names
        return lane

    def take(
        self, wanted: Callable[[str], bool], want: int, labels: frozenset[str] = NOTHING, slots: int = 1, room: int = 1
    ) -> list[Task]:
        """Take up to `want` ready tasks whose name is `wanted` and that require no other labels and no more `slots`.

        By priority, then by age. A task that was lost once comes alone: whoever dies next, only one task can have been
        the reason. One that takes several slots comes alone too, and what is behind it waits until there is `room`.
        """
        lanes = [
            lane
            for lane in self.lanes.values()
            if lane.mask and not lane.paused and lane.requires <= labels and lane.cost <= slots and wanted(lane.name)
        ]
        taken: list[Task] = []
        while lanes and len(taken) < want:
            best: Task | None = None
            best_lane = lanes[0]
            for lane in lanes:
                task = lane.head()
                if task is not None and (best is None or _goes_before(task, best)):
                    best, best_lane = task, lane
            if best is None or (taken and (best.lost or best_lane.cost > 1)) or best_lane.cost > room:
                break
            best_lane.pop()
            taken.append(best)
            if best.lost or best_lane.cost > 1:
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
