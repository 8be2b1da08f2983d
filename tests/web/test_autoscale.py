"""The answer to an autoscaler: the slots that its queues need together."""

import json
from typing import Any

from tests.core.build import envelope, new_ledger
from tests.metrics.fakes import FakeMaster

from distq.core.ledger import Ledger
from distq.core.queue import RESULT
from distq.web.autoscale import autoscale


def master(ledger: Ledger, **ready: int) -> FakeMaster:
    """Make a master whose queues have these numbers of ready tasks."""
    for name, count in ready.items():
        ledger.submit(envelope(ledger, queue=name), [b"x"] * count, None, 0.0)
    ledger.apply(0.0)
    return FakeMaster(all_queues=list(ledger.registry.queues.values()))


def answered(view: FakeMaster, wanted: list[str]) -> dict[str, Any]:
    """Return the answer, read as JSON."""
    answer: dict[str, Any] = json.loads("".join(autoscale(view, wanted)))
    return answer


def test_named_queues_count_together() -> None:
    """Each queue has its own mean; a queue that does not exist yet needs no slots."""
    ledger = new_ledger()
    view = master(ledger, a=60, b=120, c=500)
    ledger.registry.queue("a").mean_run_s = 2.0
    assert answered(view, ["a", "b", "none"]) == {
        "desired_slots": 4,
        "running": 0,
        "ready": 180,
        "ready_work_s": 240.0,
        "target_drain_s": 60.0,
        "queues": ["a", "b", "none"],
    }


def test_all_work_queues_count_if_the_request_names_none() -> None:
    """Results that wait for their client need no slot."""
    ledger = new_ledger()
    view = master(ledger, work=60, result=500)
    ledger.registry.queue("result").role = RESULT
    answer = answered(view, [])
    assert (answer["desired_slots"], answer["queues"]) == (1, ["work"])
