"""The demand of a queue: the slots for its running tasks, and for the tasks that more slots would let run.

A task that waits for a limit, a pause, a concurrency key or a delay needs no slot, because more slots do not start it.
A queue may have 20,000 ready lists, one for each task name, so they are counted in steps with other work in between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.core.states import LEASED, READY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList
    from distq.core.task import Task

RUN_S_UNKNOWN: Final = 1.0
"""Assumed run time in seconds if no run has ended, no task runs and the task has no time limit."""

LISTS_PER_STEP: Final = 500
"""Maximum ready lists in one step of `demands`, about half a millisecond of work."""


class Placement(Protocol):
    """The facts about the connected workers that the demand depends on."""

    def extra_slots(self, queue: Queue[Task]) -> int:
        """Number of slots that the running tasks of a queue take beyond one slot each."""

    def longest_run_s(self, queue: Queue[Task]) -> float:
        """Seconds since the start of a queue's longest present run, 0 if no task runs."""

    def most(self, queue: Queue[Task], ready_list: PriorityList[Task]) -> int:
        """Number of a ready list's tasks that connected workers, or workers that may be started, could run."""


class Demand(NamedTuple):
    """The slots and the work that the tasks of one queue, or of several, need."""

    running: int = 0
    """Number of slots that running tasks take."""
    ready: int = 0
    """Number of ready tasks that could run within the time, if there were slots."""
    slots: int = 0
    """Number of slots that the tasks in `ready` take if all run at the same time."""
    work_s: float = 0.0
    """Seconds that one slot needs for the tasks in `ready`."""

    def desired_slots(self, target_drain_s: float) -> int:
        """The slots for the running tasks, and the slots that run the ready tasks within `target_drain_s` seconds.

        At least one while a task could run, and at most the slots that all tasks take together.
        """
        if self.slots == 0:
            return self.running
        return self.running + min(self.slots, max(1, math.ceil(self.work_s / target_drain_s)))


def total(demands: Iterable[Demand]) -> Demand:
    """The demand of several queues together."""
    columns = list(zip(*demands, strict=True)) or [(), (), (), ()]
    running, ready, slots, work_s = map(sum, columns)
    return Demand(running, ready, slots, float(work_s))


def demands(
    queues: Iterable[Queue[Task]], placement: Placement, now: float, within_s: float
) -> Iterator[tuple[Queue[Task], Demand] | None]:
    """The demand of each queue, of tasks that could begin in the next `within_s` seconds.

    Yields None after at most 2 x LISTS_PER_STEP ready lists and queues, so that the caller can do other work.
    """
    list_count = 0
    for queue in queues:
        running = queue.counts[LEASED]
        if running:
            running += placement.extra_slots(queue)
        demand, startable = Demand(running), min(queue.counts[READY], queue.startable(now, within_s))
        lists = list(queue.ready_lists.values()) if startable > 0 else []
        for at in range(0, len(lists), LISTS_PER_STEP):
            step = lists[at : at + LISTS_PER_STEP]
            demand = _with_lists(demand, queue, step, placement)
            list_count += len(step)
            if list_count >= LISTS_PER_STEP:
                yield None
                list_count = 0
        yield queue, _at_most(demand, startable)
        list_count += 1


def _with_lists(
    demand: Demand, queue: Queue[Task], lists: Sequence[PriorityList[Task]], placement: Placement
) -> Demand:
    """Add the demand of some ready lists to that of their queue."""
    running, ready, slots, work_s = demand
    for ready_list in lists:
        if (
            ready_list.mask
            and not ready_list.paused
            and (count := min(len(ready_list), placement.most(queue, ready_list))) > 0
        ):
            ready += count
            slots += count * ready_list.cost
            work_s += count * ready_list.cost * _run_s(queue, ready_list, placement)
    return Demand(running, ready, slots, work_s)


def _at_most(demand: Demand, startable: int) -> Demand:
    """The demand of a queue of which at most `startable` ready tasks may begin."""
    running, ready, slots, work_s = demand
    if ready <= startable:
        return demand
    return Demand(running, startable, math.ceil(slots * startable / ready), work_s * startable / ready)


def _run_s(queue: Queue[Task], ready_list: PriorityList[Task], placement: Placement) -> float:
    """Run time of a task: the queue's mean, or else the longer of the time limit and the longest present run."""
    if queue.mean_run_s is not None:
        return queue.mean_run_s
    task = ready_list.first()
    declared_s = None if task is None else task.envelope.time_limit_s
    return max(declared_s or RUN_S_UNKNOWN, placement.longest_run_s(queue))
