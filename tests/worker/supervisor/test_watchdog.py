"""The shared pages, what the watchdogs decide by them, and whom the memory guard kills; times are given as numbers."""

import os
from collections.abc import Iterator

import pytest

from distq.worker.shared.batch_page import BEGUN, DOUBTFUL, OVER, BatchPage, BatchPosition
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import PAGE_BYTES, Blame
from distq.worker.shared.slots_page import SlotsPage
from distq.worker.supervisor.memory import Memory
from distq.worker.supervisor.memory_guard import PAUSE_S, MemoryGuard, out_of_memory_cause
from distq.worker.supervisor.watchdog import (
    EXIT_AFTER_S,
    KILL_AFTER_S,
    REVOKE_AFTER_S,
    STACK_S,
    LeavingWatchdog,
    SlotsWatchdog,
    Watchdog,
    WatchdogAction,
)

MIB = 1 << 20


@pytest.fixture
def page() -> Iterator[BatchPage]:
    """A page with a batch of three tasks, of which the first has begun."""
    made = BatchPage.create()
    made.set_batch([11, 1, 12, 2, 13, 3])
    assert made.begin(0) == BEGUN
    yield made
    made.close()


def test_tasks_behind_a_long_one_are_taken_back_once(page: BatchPage) -> None:
    """Not before the running task is long, and not a second time."""
    watchdog = Watchdog(page)
    assert watchdog.check(0.0) is WatchdogAction.NOTHING
    assert watchdog.check(REVOKE_AFTER_S - 0.1) is WatchdogAction.NOTHING
    assert watchdog.check(REVOKE_AFTER_S) is WatchdogAction.REVOKE
    page.revoke(1)
    assert page.unstarted(page.position) == [(12, 2), (13, 3)]
    page.set_returned(1)
    assert watchdog.check(REVOKE_AFTER_S + 1) is WatchdogAction.NOTHING
    assert page.begin(1) == OVER


def test_short_tasks_are_left_alone(page: BatchPage) -> None:
    """Each check finds another task running."""
    watchdog = Watchdog(page)
    for index in range(3):
        assert page.begin(index) == BEGUN
        assert watchdog.check(float(index)) is WatchdogAction.NOTHING
    assert watchdog.check(9.0) is WatchdogAction.NOTHING  # no task waits behind the last one
    page.rest()
    assert watchdog.check(99.0) is WatchdogAction.NOTHING


def test_a_new_batch_is_not_revoked_with_the_old_one(page: BatchPage) -> None:
    """The supervisor, which looks for the old batch's tasks, finds none."""
    position = page.position
    page.revoke(1)
    page.rest()
    page.set_batch([14, 1])
    assert page.unstarted(position) == []
    assert page.begin(0) == BEGUN
    assert page.running == (14, 1)
    assert not page.is_returned(2)


def test_a_task_that_begins_while_its_batch_is_revoked_is_doubtful(page: BatchPage) -> None:
    """The task does not run, and its executor hands it back."""

    class Numbers:
        """The page's numbers; the batch is revoked as soon as the executor has written one."""

        def __init__(self) -> None:
            self.numbers = page._numbers

        def __getitem__(self, index: int) -> int:
            return int(self.numbers[index])

        def __setitem__(self, index: int, value: int) -> None:
            self.numbers[index] = value
            other.revoke(1)

    other, numbers = BatchPage(os.dup(page.fd)), page._numbers
    page._numbers = Numbers()  # type: ignore[assignment] # it reads and writes as the page does
    assert page.begin(1) == DOUBTFUL
    page._numbers = numbers
    other.close()
    assert page.position == BatchPosition(1, -1)


def test_an_executor_beyond_a_time_limit_is_asked_for_its_stack_and_killed(page: BatchPage) -> None:
    """As soon as the stack is written, or after `STACK_S` without one."""
    page.set_limit(5.0, 100.0)
    watchdog = Watchdog(page)
    due = 105.0 + KILL_AFTER_S
    assert watchdog.check(100.0) is WatchdogAction.NOTHING
    assert watchdog.check(due) is WatchdogAction.REQUEST_STACK
    assert watchdog.check(due + 0.1) is WatchdogAction.NOTHING
    os.pwrite(page.fd, b"File x.py, line 3", PAGE_BYTES)
    assert watchdog.check(due + 0.2) is WatchdogAction.KILL_OVER_LIMIT
    os.ftruncate(page.fd, PAGE_BYTES)
    assert watchdog.check(due + STACK_S) is WatchdogAction.KILL_OVER_LIMIT


def test_a_time_limit_ends_with_its_task(page: BatchPage) -> None:
    """The executor is not killed for a task that has ended meanwhile."""
    page.set_limit(5.0, 100.0)
    watchdog = Watchdog(page)
    assert watchdog.check(105.0 + KILL_AFTER_S) is WatchdogAction.REQUEST_STACK
    page.set_limit(0.0, 0.0)
    page.begin(2)
    assert watchdog.check(105.0 + KILL_AFTER_S + STACK_S) is WatchdogAction.NOTHING


def test_the_memory_guard_kills_the_largest_executor_and_then_waits_for_the_memory() -> None:
    """It kills none while there is room, without a limit, or if no executor is large."""
    guard = MemoryGuard()
    full = Memory(96 * MIB, 100 * MIB)
    sizes = {1: 30 * MIB, 2: 60 * MIB}
    assert guard.victim(Memory(94 * MIB, 100 * MIB), 0, sizes, 0.0) is None
    assert guard.victim(Memory(96 * MIB, None), 0, sizes, 0.0) is None
    assert guard.victim(full, 2 * MIB, sizes, 0.0) is None  # files are given up first
    assert guard.victim(full, 0, {1: MIB}, 0.0) is None
    assert guard.victim(full, 0, {}, 0.0) is None
    assert guard.victim(full, 0, sizes, 0.0) == 2
    assert guard.victim(full, 0, sizes, PAUSE_S / 2) is None
    assert guard.victim(full, 0, sizes, PAUSE_S) == 2


def test_the_memory_guards_cause_names_the_limit() -> None:
    """An operator sees what to raise."""
    assert out_of_memory_cause(512 * MIB) == ("oom", "out of memory (guard at 95 % of 512 MiB)")


def test_an_executor_is_killed_for_a_task_that_does_not_stop(page: BatchPage) -> None:
    """Not before `KILL_AFTER_S`, and not for the next task."""
    watchdog = Watchdog(page)
    watchdog.stop(LeaseId(11, 1), 10.0)
    assert watchdog.check(10.0 + KILL_AFTER_S - 0.1) is not WatchdogAction.KILL_STOPPED
    assert watchdog.check(10.0 + KILL_AFTER_S) is WatchdogAction.KILL_STOPPED
    watchdog.stop(LeaseId(11, 1), 20.0)
    page.begin(1)
    assert watchdog.check(20.0 + KILL_AFTER_S) is not WatchdogAction.KILL_STOPPED


def test_only_the_named_run_of_a_task_is_stopped(page: BatchPage) -> None:
    """Not the task before or behind it, and not another delivery of the same task."""
    page.stop(LeaseId(11, 2))
    assert not page.is_stopping
    page.stop(LeaseId(11, 1))
    assert page.is_stopping
    assert page.is_unstarted(LeaseId(12, 2))
    assert not page.is_unstarted(LeaseId(11, 1))
    page.begin(1)
    assert not page.is_stopping
    page.rest()
    assert not page.is_stopping


@pytest.fixture
def slots() -> Iterator[SlotsPage]:
    """A page with two running tasks, of which the second has a time limit of one second."""
    made = SlotsPage.create()
    made.start(0, LeaseId(11, 1), 0.0, 0.0)
    made.start(3, LeaseId(12, 2), 1.0, 0.0)
    yield made
    made.close()


def test_a_page_names_the_running_tasks_and_only_a_single_one_can_be_blamed(slots: SlotsPage) -> None:
    """Any of several running tasks can be the cause."""
    assert slots.all_running == [(11, 1), (12, 2)]
    assert slots.running is None
    slots.finish(3)
    assert slots.running == (11, 1)


def test_a_page_names_the_task_to_stop_and_no_other(slots: SlotsPage) -> None:
    """The next task in its slot is not stopped either."""
    slots.stop(LeaseId(12, 2))
    assert slots.shall_stop(3, 2)
    assert not slots.shall_stop(0, 1)
    slots.finish(3)
    slots.start(3, LeaseId(13, 2), 0.0, 0.0)
    assert not slots.shall_stop(3, 2)


def test_an_executor_of_several_tasks_is_killed_for_one_beyond_its_limit(
    slots: SlotsPage,
) -> None:
    """That task is to blame."""
    watchdog = SlotsWatchdog(slots)
    assert watchdog.check(1 + KILL_AFTER_S - 0.1) is WatchdogAction.NOTHING
    assert watchdog.check(1 + KILL_AFTER_S) is WatchdogAction.REQUEST_STACK
    assert watchdog.check(1 + KILL_AFTER_S + STACK_S / 2) is WatchdogAction.NOTHING
    assert watchdog.check(1 + KILL_AFTER_S + STACK_S) is WatchdogAction.KILL_OVER_LIMIT
    assert (watchdog.blamed, watchdog.limit_s) == ((12, 2), 1.0)
    slots.finish(3)
    assert watchdog.check(1 + KILL_AFTER_S + STACK_S) is WatchdogAction.NOTHING


def test_an_executor_of_several_tasks_is_killed_for_one_that_does_not_stop(slots: SlotsPage) -> None:
    """Unless that task has ended meanwhile."""
    watchdog = SlotsWatchdog(slots)
    watchdog.stop(LeaseId(11, 1), 0.0)
    watchdog.stop(LeaseId(99, 9), 0.0)
    assert watchdog.check(KILL_AFTER_S - 0.1) is WatchdogAction.NOTHING
    assert watchdog.check(KILL_AFTER_S) is WatchdogAction.KILL_STOPPED
    assert watchdog.blamed == (11, 1)
    slots.finish(0)
    assert watchdog.check(KILL_AFTER_S) is WatchdogAction.NOTHING


def test_an_executor_that_has_settled_everything_has_ten_seconds_to_exit(page: BatchPage) -> None:
    """Then it is asked for its stack, and killed with or without one."""
    leaving = LeavingWatchdog(page)
    assert leaving.check(0.0) is None
    page.set_leaving()
    assert leaving.check(1.0) is WatchdogAction.NOTHING
    assert leaving.check(0.9 + EXIT_AFTER_S) is WatchdogAction.NOTHING
    assert leaving.check(1.0 + EXIT_AFTER_S) is WatchdogAction.REQUEST_STACK
    assert leaving.check(1.1 + EXIT_AFTER_S) is WatchdogAction.NOTHING
    assert leaving.check(1.0 + EXIT_AFTER_S + STACK_S) is WatchdogAction.KILL_LEAVING
    os.pwrite(page.fd, b"File", PAGE_BYTES)
    assert leaving.check(1.2 + EXIT_AFTER_S) is WatchdogAction.KILL_LEAVING


def test_the_last_task_is_to_blame_until_it_is_settled(page: BatchPage) -> None:
    """Also when it has ended, unless another task runs; earlier unsettled tasks may be to blame too."""
    assert page.blame == Blame([LeaseId(11, 1)])
    page.rest()
    assert page.running is None
    assert page.blame == Blame([LeaseId(11, 1)], [])
    assert page.begin(1) == BEGUN
    assert page.blame == Blame([LeaseId(12, 2)])
    page.rest()
    assert page.blame == Blame([LeaseId(12, 2)], [LeaseId(11, 1)])
    page.all_settled()
    assert not any(page.blame)
    assert page.begin(2) == BEGUN
    assert page.blame.running == [(13, 3)]


def test_the_running_tasks_of_several_are_to_blame_before_ended_ones() -> None:
    """If none runs, the tasks that have ended and are not settled are to blame."""
    slots = SlotsPage.create()
    slots.start(0, LeaseId(11, 1), 0.0, 0.0)
    slots.set_unsettled([LeaseId(12, 1), LeaseId(13, 2)])
    assert slots.blame == Blame([LeaseId(11, 1)])
    slots.finish(0)
    assert slots.blame.running == [(12, 1), (13, 2)]
    slots.set_unsettled([LeaseId(n, 1) for n in range(1, 500)])
    assert slots.blame.running[-1] == (499, 1)
    slots.set_unsettled([])
    assert not any(slots.blame)
    slots.close()
