"""Tests of the client's messages about waiting tasks: after five seconds, and rarely."""

import logging
from typing import Any, cast

import pytest

from distq.client import stuck_tasks
from distq.client.pending_futures import PendingFutures
from distq.client.steps import MasterCall, run
from distq.client.stuck_tasks import PAUSE_MAX_S, WAITED_S, WARNINGS_MAX, StuckTasks
from distq.net.dial import CannotReach
from distq.wire.errors import RemoteRefusal

WHY = "No worker is connected."


class Fakes:
    """Fake pending futures, a fake master, and a fake clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pending: list[int] = []
        self.answer: Any = {}
        self.calls: list[list[int]] = []

    def __bool__(self) -> bool:
        return bool(self.pending)

    def knows(self, key: int) -> bool:
        """Do as `PendingFutures` does."""
        return key in self.pending

    def oldest(self, count: int) -> list[int]:
        """Do as `PendingFutures` does."""
        return self.pending[:count]

    def ask(self, request: MasterCall) -> Any:
        """Answer a request as the master does."""
        assert request.method == "stuck"
        (keys,) = request.args
        assert isinstance(keys, list)
        self.calls.append(keys)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def passes(self, stuck_tasks: StuckTasks, seconds: float) -> None:
        """Advance the clock, and wake the thread at its times."""
        end = self.now + seconds
        while (pause_s := stuck_tasks.pause_s()) is not None and self.now + pause_s <= end:
            self.now += pause_s
            run(stuck_tasks.look(), self.ask)
        self.now = end


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Return the fakes, with their clock installed."""
    made = Fakes()
    monkeypatch.setattr(stuck_tasks, "_now", lambda: made.now)
    return made


def watching(fakes: Fakes) -> StuckTasks:
    """Return the object under test."""
    return StuckTasks(cast("PendingFutures[Any]", fakes))


def test_each_reason_of_a_task_that_waits_for_five_seconds_is_logged_once(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    """The pauses between questions grow; the client never asks about tasks that end in time."""
    stuck_tasks = watching(fakes)
    assert stuck_tasks.pause_s() is None
    fakes.pending, fakes.answer = [1 << 40 | 1, 1 << 40 | 2], {1 << 40 | 2: WHY}
    with caplog.at_level(logging.WARNING, "distq"):
        fakes.passes(stuck_tasks, WAITED_S - 1)
        fakes.pending = fakes.pending[1:]
        assert fakes.calls == []
        fakes.passes(stuck_tasks, 1)
        assert fakes.calls == [[1 << 40 | 2]]
        fakes.passes(stuck_tasks, 10 * PAUSE_MAX_S)
    assert [record.getMessage() for record in caplog.records] == [f"Task 1-2 waits. {WHY}"]
    assert len(fakes.calls) <= 14
    fakes.pending = []
    assert stuck_tasks.pause_s() is None


def test_tasks_that_end_in_time_cause_no_question(fakes: Fakes) -> None:
    """A busy client makes no additional call."""
    stuck_tasks = watching(fakes)
    for number in range(100):
        fakes.pending = [number]
        fakes.passes(stuck_tasks, WAITED_S / 2)
    assert fakes.calls == []


@pytest.mark.parametrize(("error", "calls"), [(RemoteRefusal("no such method"), 1), (CannotReach("away"), 4)])
def test_a_master_of_an_older_version_is_asked_once(fakes: Fakes, error: Exception, calls: int) -> None:
    """A client asks a master that is away again."""
    stuck_tasks = watching(fakes)
    fakes.pending, fakes.answer = [1], error
    fakes.passes(stuck_tasks, 15 * WAITED_S)
    assert len(fakes.calls) == calls


def test_a_client_logs_a_limited_number_of_reasons(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    """The number of messages has a limit, however many kinds of tasks wait."""
    stuck_tasks = watching(fakes)
    fakes.pending, fakes.answer = [1], {key: f"reason {key}" for key in range(2 * WARNINGS_MAX)}
    with caplog.at_level(logging.WARNING, "distq"):
        fakes.passes(stuck_tasks, 2 * WAITED_S)
    assert len(caplog.records) == WARNINGS_MAX
    assert stuck_tasks.pause_s() is None
