"""What KEDA or a script is answered that asks how many slots some queues want."""

from collections.abc import Iterable
from typing import Any

from distq.core.demand import demand, total
from distq.core.queue import WORK
from distq.metrics.view import MasterView


def autoscale(view: MasterView, wanted: Iterable[str]) -> dict[str, Any]:
    """The slots that the `wanted` queues want together (all work queues if none is named), and why.

    A queue that does not exist yet has nothing to do: an autoscaler may ask before the first submit.
    """
    names = set(wanted)
    chosen = [queue for queue in view.queues() if (queue.name in names if names else queue.role == WORK)]
    now, target_drain_s, placement = view.now(), view.target_drain_s, view.placement()
    wants = total(demand(queue, placement, now, target_drain_s) for queue in chosen)
    return {
        "desired_slots": wants.desired_slots(target_drain_s),
        "running": wants.running,
        "ready": wants.ready,
        "ready_work_s": round(wants.work_s, 6),
        "target_drain_s": target_drain_s,
        "queues": sorted(names) if names else sorted(queue.name for queue in chosen),
    }
