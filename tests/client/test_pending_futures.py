"""Tests of futures of accepted tasks: several futures of one task, and an abandoned future."""

from typing import Any

import pytest

from distq.client.future import TaskFuture, settle_all
from distq.client.outbox import Outbox
from distq.client.pending_futures import PendingFutures
from distq.core.states import SUCCEEDED


@pytest.mark.parametrize("abandoned", [0, 1, 2])
def test_an_abandoned_future_leaves_the_others_of_its_task(abandoned: int) -> None:
    """Each of the other futures gets the end of the task."""
    awaited = PendingFutures(Outbox(), lambda: None, settle_all)
    futures: list[TaskFuture[Any]] = [TaskFuture() for _ in range(3)]
    for future in futures:
        awaited.adopt(future, 7)
    awaited.abandon(futures[abandoned])
    awaited.receive([(7, SUCCEEDED, b"[1]", None)])
    assert [future.has_ended for future in futures] == [number != abandoned for number in range(3)]
    assert not awaited
