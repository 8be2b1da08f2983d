"""How many slots a queue wants: what runs on it, and what of it could run if there were slots. Nothing is changed.

What a limit, a pause, a concurrency key or a delay holds back wants no slot: it would not run faster with more of them.
A queue may have 20,000 lanes, one for each task name: they are counted in steps, and other work may run between two.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.core.states import LEASED, READY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList

RUN_S_UNKNOWN: Final = 1.0
"""How long a run is taken to last while nothing is known: none has ended or is under way, and no limit is declared."""

LANES_PER_STEP: Final = 500
"""Maximum lanes of one step of `demands`, about half a millisecond of work."""


class Placement(Protocol):
    """The connected workers, as far as they matter to tasks that are ready."""

    def extra_slots(self, queue: Queue) -> int:
        """How many more slots than one each the running tasks of a queue take."""

    def longest_run_s(self, queue: Queue) -> float:
        """How long the longest present run of a queue has lasted, 0 if there is none."""

    def most(self, queue: Queue, lane: PriorityList) -> int:
        """How many tasks of a lane count: all that could run on a worker that is connected, or may be soon."""


class AnyWorker:
    """The placement of a master that has no workers: whatever is ready could run on one that comes."""

    def extra_slots(self, queue: Queue) -> int:  # noqa: ARG002, D102 - as Placement
        return 0

    def longest_run_s(self, queue: Queue) -> float:  # noqa: ARG002, D102
        return 0.0

    def most(self, queue: Queue, lane: PriorityList) -> int:  # noqa: ARG002, D102
        return sys.maxsize


class Demand(NamedTuple):
    """What one queue, or several together, want of workers."""

    running: int = 0
    """Slots that running tasks take."""
    ready: int = 0
    """Ready tasks that could run within the time, if there were slots."""
    slots: int = 0
    """Slots that these would take if all ran at once."""
    work_s: float = 0.0
    """How long these would take one slot."""

    def desired_slots(self, target_drain_s: float) -> int:
        """The slots that run what runs, and have what is ready done in `target_drain_s` seconds.

        Never below what is running, never stuck at zero while a task could run, never more than all tasks take.
        """
        if self.slots == 0:
            return self.running
        return self.running + min(self.slots, max(1, math.ceil(self.work_s / target_drain_s)))


def total(demands: Iterable[Demand]) -> Demand:
    """What several queues want together."""
    columns = list(zip(*demands, strict=True)) or [(), (), (), ()]
    running, ready, slots, work_s = map(sum, columns)
    return Demand(running, ready, slots, float(work_s))


def demands(
    queues: Iterable[Queue], placement: Placement, now: float, within_s: float
) -> Iterator[tuple[Queue, Demand] | None]:
    """What each queue wants, of tasks that could begin in the next `within_s` seconds.

    Gives None after at most two times LANES_PER_STEP lanes and queues: a caller who has other work lets it run then.
    """
    looked_at = 0
    for queue in queues:
        running = queue.counts[LEASED]
        if running:
            running += placement.extra_slots(queue)
        wants, startable = Demand(running), min(queue.counts[READY], queue.startable(now, within_s))
        lanes = list(queue.ready_lists.values()) if startable > 0 else []
        for at in range(0, len(lanes), LANES_PER_STEP):
            step = lanes[at : at + LANES_PER_STEP]
            wants = _and_lanes(wants, queue, step, placement)
            looked_at += len(step)
            if looked_at >= LANES_PER_STEP:
                yield None
                looked_at = 0
        yield queue, _at_most(wants, startable)
        looked_at += 1


def _and_lanes(wants: Demand, queue: Queue, lanes: Sequence[PriorityList], placement: Placement) -> Demand:
    """What a queue wants, with what some more of its lanes want."""
    running, ready, slots, work_s = wants
    for lane in lanes:
        if lane.mask and not lane.paused and (count := min(len(lane), placement.most(queue, lane))) > 0:
            ready += count
            slots += count * lane.cost
            work_s += count * lane.cost * _run_s(queue, lane, placement)
    return Demand(running, ready, slots, work_s)


def _at_most(wants: Demand, startable: int) -> Demand:
    """What a queue wants of which no more than `startable` ready tasks may begin."""
    running, ready, slots, work_s = wants
    if ready <= startable:
        return wants
    return Demand(running, startable, math.ceil(slots * startable / ready), work_s * startable / ready)


def _run_s(queue: Queue, lane: PriorityList, placement: Placement) -> float:
    """How long a run lasts: the mean of those that ended, or else the best that is known."""
    if queue.mean_run_s is not None:
        return queue.mean_run_s
    task = lane.head()
    declared_s = None if task is None else task.envelope.time_limit_s
    return max(declared_s or RUN_S_UNKNOWN, placement.longest_run_s(queue))
