"""Tests of kept settlements: a task is settled only after the master has answered the submits that the task leaves."""

from collections import deque
from collections.abc import Callable, Iterator

import pytest
from tests.worker.executor.test_settlements import Executor

from distq.client.future_state import FutureState
from distq.client.outbox import UnsentTasks
from distq.core.outcome import Outcome
from distq.protocol.exchange import Settlement
from distq.tasks import access
from distq.worker.executor.exchange import WAIT_S
from distq.worker.executor.unaccepted_submits import (
    FIRST_POLL_S,
    KEPT_MAX,
    KEPT_S,
    POLL_S,
    KeptSettlements,
    Submits,
    note_submit,
)
from distq.worker.shared.lease_id import LeaseId

SETTLEMENT: Settlement = (7, 1, Outcome.SUCCESS, b"body", 1.0, "")


class Future:
    """The future of a submit."""

    def __init__(self) -> None:
        self.task_key: int | None = None
        self.has_ended = False
        self.outbox = UnsentTasks[FutureState[object]]()


def accepted(future: Future) -> None:
    """Let the master accept the submit."""
    future.task_key = 9


def refused(future: Future) -> None:
    """Let the master refuse the submit."""
    future.has_ended = True


def in_full_queue(future: Future) -> None:
    """Let the master keep the submit waiting for room."""
    future.outbox.waits_for_room = True


class Setting:
    """Kept settlements with a clock of the test's own, and what they report."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reports: list[str] = []
        self.kept = KeptSettlements(lambda: self.now, self.reports.append)


def submits_of(*futures: Future) -> Submits:
    """Return the noted submits of a task."""
    submits: Submits = deque()
    for future in futures:
        note_submit(submits, future, future.outbox)
    return submits


@pytest.mark.parametrize("answer", [accepted, refused, in_full_queue])
def test_a_settlement_is_kept_until_every_submit_of_its_task_is_answered(answer: Callable[[Future], None]) -> None:
    """A submit that waits for room is no reason to wait: the room may need the settlement."""
    setting, first, second = Setting(), Future(), Future()
    assert setting.kept.keep(SETTLEMENT, submits_of(first, second))
    assert (setting.kept.take(0.0), len(setting.kept)) == ([], 1)
    answer(second)
    assert setting.kept.take(0.0) == []
    answer(first)
    assert (setting.kept.take(0.0), len(setting.kept), setting.kept.size_bytes) == ([SETTLEMENT], 0, 0)
    assert setting.reports == []


def test_a_submit_that_was_interrupted_before_it_was_sent_keeps_nothing() -> None:
    """Only the client refers to the future of a submit in flight, so its end shows there."""
    setting, future = Setting(), Future()
    submits = submits_of(future)
    del future
    assert not setting.kept.keep(SETTLEMENT, submits)


def test_submits_that_were_answered_while_the_task_ran_are_not_remembered() -> None:
    """A task may submit a million tasks."""
    submits: Submits = deque()
    futures = [Future() for _ in range(100)]
    for future in futures:
        note_submit(submits, future, future.outbox)
        accepted(future)
    assert len(submits) == 1


def test_a_settlement_is_sent_anyway_after_the_longest_time_and_a_report_says_so() -> None:
    """The other master that the task's client uses may be away for days."""
    setting, future = Setting(), Future()
    setting.kept.keep(SETTLEMENT, submits_of(future))
    setting.now += KEPT_S - 1
    assert setting.kept.take(0.0) == []
    setting.now += 1
    assert setting.kept.take(0.0) == [SETTLEMENT]
    (report,) = setting.reports
    assert report.startswith("The master has not answered 1 submit of tasks")


def test_the_looks_at_a_kept_settlement_become_rarer() -> None:
    """A master that is away must not make the executor busy."""
    setting, future = Setting(), Future()
    assert setting.kept.pause_s == FIRST_POLL_S
    setting.kept.keep(SETTLEMENT, submits_of(future))
    assert setting.kept.pause_s == FIRST_POLL_S
    setting.now += 10
    assert setting.kept.pause_s == POLL_S


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Yield an executor, and close it afterwards."""
    made = Executor()
    yield made
    made.close()


def test_a_kept_lease_is_held_and_the_others_are_sent_before_it(executor: Executor) -> None:
    """A restarted master learns of it from the next greeting; the exchanges go on meanwhile."""
    settlements, future = executor.settlements((1, 1, Outcome.SUCCESS, b"", 1.0, "")), Future()
    settlements.kept.keep(SETTLEMENT, submits_of(future))
    assert settlements.held == [LeaseId(1, 1), LeaseId(7, 1)]
    settlements.take_accepted()
    assert settlements.fit() == 1
    settlements.confirmed(1)
    assert settlements
    assert settlements.ask_for(5) == (5, POLL_S)
    accepted(future)
    settlements.take_accepted()
    assert (settlements.rows, settlements.size_bytes) == ([SETTLEMENT], len(b"body"))
    assert settlements.ask_for(5) == (5, WAIT_S)


def test_an_executor_with_many_kept_settlements_asks_for_no_tasks(executor: Executor) -> None:
    """It bounds the memory that a master that is away can cost."""
    settlements, future = executor.settlements(), Future()
    for _ in range(KEPT_MAX):
        settlements.kept.keep(SETTLEMENT, submits_of(future))
    assert settlements.ask_for(5) == (0, 0.0)


def test_the_last_exchange_waits_for_answers_and_then_takes_everything(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor ends: the client's own end waits for acceptances once more."""
    settlements, future, waits = executor.settlements(), Future(), list[float]()
    monkeypatch.setattr(access, "flush", waits.append)
    settlements.kept.keep(SETTLEMENT, submits_of(future))
    settlements.take_accepted(5.0, last=True)
    assert (waits, settlements.rows) == ([5.0], [SETTLEMENT])
    assert executor.troubles()
