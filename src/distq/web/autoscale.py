"""How many slots the waiting tasks want: a pure function, and what KEDA or a script is answered."""

import math
from collections.abc import Iterable
from typing import Any

from distq.core.queue import WORK, Queue
from distq.core.task import LEASED, READY

MEAN_RUN_S_UNKNOWN = 1.0
"""What a run is taken to last until the first one has ended."""


def desired_slots(running: int, ready: int, work_s: float, target_drain_s: float) -> int:
    """The slots that run what runs, and have what is ready done in `target_drain_s` seconds.

    `work_s` is how long the ready tasks would take one slot. Never below what is running, never stuck at
    zero while something is ready, never more than one slot for each task.
    """
    if ready == 0:
        return running
    return running + min(ready, max(1, math.ceil(work_s / target_drain_s)))


def autoscale(queues: Iterable[Queue], wanted: Iterable[str], target_drain_s: float) -> dict[str, Any]:
    """The slots that the `wanted` queues want together (all work queues if none is named), and why.

    A queue that does not exist yet has nothing to do: an autoscaler may ask before the first submit.
    """
    names = set(wanted)
    chosen = [queue for queue in queues if (queue.name in names if names else queue.role == WORK)]
    ready = sum(map(_ready, chosen))
    running = sum(queue.counts[LEASED] for queue in chosen)
    work_s = sum(_ready(queue) * _mean_run_s(queue) for queue in chosen)
    return {
        "desired_slots": desired_slots(running, ready, work_s, target_drain_s),
        "running": running,
        "ready": ready,
        "ready_work_s": round(work_s, 6),
        "target_drain_s": target_drain_s,
        "queues": sorted(names) if names else sorted(queue.name for queue in chosen),
    }


def _ready(queue: Queue) -> int:
    """How many tasks more slots could run: none of a paused queue, and no more than may run at once."""
    policy = queue.policy
    if policy.paused:
        return 0
    room = queue.counts[READY] if policy.running is None else max(policy.running - queue.running, 0)
    return min(queue.counts[READY], room)


def _mean_run_s(queue: Queue) -> float:
    return MEAN_RUN_S_UNKNOWN if queue.mean_run_s is None else queue.mean_run_s
