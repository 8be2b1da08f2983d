"""Tests of the steps of submits: how long they wait for room in a full queue, and what the code of a task learns."""

from typing import Any

import pytest
from tests.client.functions import double

from distq.client import submit_steps
from distq.client.future import TaskFuture
from distq.client.outbox import BATCH_BYTES_MAX, Outbox, PendingSubmit, SubmitOptions
from distq.client.pending_futures import PendingFutures
from distq.client.refusals import Refusals, RefusedFull
from distq.client.steps import MasterCall, run
from distq.client.submit_steps import SubmitSteps
from distq.tasks import access
from distq.tasks.function import spec_of

WAIT_S = 30.0
REFUSED = (False, "QUEUE_FULL", "no room.")


class FullQueue:
    """A client whose master has a full queue: it answers each submit after the whole time that the submit may wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.waits_for_room: list[bool] = []
        """What the client says of the outbox during each submit."""
        self.outbox = Outbox()
        pending = PendingFutures[TaskFuture[Any]](self.outbox, lambda: None, lambda _: None)
        refusals = Refusals()
        self.steps = SubmitSteps(self.outbox, pending, refusals, WAIT_S, lambda *_: (), lambda: None)
        monkeypatch.setattr(submit_steps, "_now", lambda: self.now)

    def put(self, count: int) -> list[TaskFuture[Any]]:
        """Submit tasks of which each fills a batch."""
        spec = spec_of(double)
        options = SubmitOptions(spec.envelope, spec.when, spec.constraints, None)
        futures = [TaskFuture[Any](None, "double") for _ in range(count)]
        for future in futures:
            self.outbox.put(PendingSubmit(options, b"x" * BATCH_BYTES_MAX, future))
        return futures

    def send(self) -> None:
        """Send one batch."""
        run(self.steps.send_batch(self.outbox.take_batch()), self._answer)

    def _answer(self, call: MasterCall) -> object:
        self.waits.append(call.wait_s)
        self.waits_for_room.append(self.outbox.waits_for_room)
        self.now += call.wait_s
        return REFUSED


def test_submits_behind_one_that_found_no_room_are_refused_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have waited for as long; one that came meanwhile waits for its own time, and so do those behind it."""
    client = FullQueue(monkeypatch)
    futures = client.put(4)
    client.send()
    futures += client.put(2)
    for _ in range(5):
        client.send()
    assert client.waits == [WAIT_S, 0.0, 0.0, 0.0, WAIT_S, 0.0]
    assert all(isinstance(future.exception(0), RefusedFull) for future in futures)


def test_a_task_learns_that_its_submits_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client submits once without waiting; while it waits then, the executor settles what needs no answer."""
    monkeypatch.setattr(access, "access", object())
    client = FullQueue(monkeypatch)
    client.put(1)
    client.send()
    assert client.waits == [0.0, WAIT_S]
    assert client.waits_for_room == [False, True]
    assert not client.outbox.waits_for_room
