"""The answer to an autoscaler, such as KEDA or a script, that asks how many slots its queues need."""

from collections.abc import Iterable, Iterator

from distq.core.demand import Demand, demands, total
from distq.core.queue import WORK
from distq.metrics.view import MasterMetrics
from distq.web.api import text


def autoscale(view: MasterMetrics, wanted: Iterable[str]) -> Iterator[str]:
    """Yield, as JSON in slices, the slots that the `wanted` queues need together, and why.

    If `wanted` is empty, the answer is for all work queues. A queue that does not exist yet needs no slots: an
    autoscaler may ask before the first submit.
    """
    names = set(wanted)
    chosen = [queue for queue in view.queues() if (queue.name in names if names else queue.role == WORK)]
    target_drain_s, found = view.target_drain_s, list[Demand]()
    for step in demands(chosen, view.placement(), view.now(), target_drain_s):
        if step is None:
            yield ""  # no text yet; the event loop may serve other requests here
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
