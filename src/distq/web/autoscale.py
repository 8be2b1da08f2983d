"""What KEDA or a script is answered that asks how many slots some queues want."""

from collections.abc import Iterable, Iterator

from distq.core.demand import Demand, demands, total
from distq.core.queue import WORK
from distq.metrics.view import MasterMetrics
from distq.web.api import text


def autoscale(view: MasterMetrics, wanted: Iterable[str]) -> Iterator[str]:
    """The slots that the `wanted` queues want together (all work queues if none is named), and why, as JSON in slices.

    A queue that does not exist yet has nothing to do: an autoscaler may ask before the first submit.
    """
    names = set(wanted)
    chosen = [queue for queue in view.queues() if (queue.name in names if names else queue.role == WORK)]
    target_drain_s, found = view.target_drain_s, list[Demand]()
    for step in demands(chosen, view.placement(), view.now(), target_drain_s):
        if step is None:
            yield ""  # nothing to write yet, and others may run
        else:
            found.append(step[1])
    wants = total(found)
    answer = {
        "desired_slots": wants.desired_slots(target_drain_s),
        "running": wants.running,
        "ready": wants.ready,
        "ready_work_s": round(wants.work_s, 6),
        "target_drain_s": target_drain_s,
        "queues": sorted(names) if names else sorted(queue.name for queue in chosen),
    }
    yield text(answer) + "\n"
