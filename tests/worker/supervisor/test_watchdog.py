"""The supervisor's looks at a word, and the guard's at memory, with numbers for the time."""

import os
from collections.abc import Iterator

import pytest

from distq.worker.shared.batch_page import BEGUN, DOUBTFUL, OVER, BatchPage, BatchPosition
from distq.worker.shared.page import PAGE_BYTES, Blame
from distq.worker.shared.slots_page import SlotsPage
from distq.worker.supervisor.memory import Memory
from distq.worker.supervisor.memory_guard import PAUSE_S, MemoryGuard, guarded
from distq.worker.supervisor.watchdog import HARD_S, LEAVE_S, LONG_S, STACK_S, Leaving, Need, SlotsWatchdog, Watchdog

MIB = 1 << 20


@pytest.fixture
def word() -> Iterator[BatchPage]:
    """A word with a batch of three, of which the first has begun."""
    made = BatchPage.create()
    made.leases([11, 1, 12, 2, 13, 3])
    assert made.begins(0) == BEGUN
    yield made
    made.close()


def test_what_waits_behind_a_long_task_is_taken_back_once(word: BatchPage) -> None:
    """Not before it is long, and not again when that is done."""
    watch = Watchdog(word)
    assert watch.check(0.0) is Need.NOTHING
    assert watch.check(LONG_S - 0.1) is Need.NOTHING
    assert watch.check(LONG_S) is Need.REVOKE
    word.revoke(1)
    assert word.unstarted(word.place) == [(12, 2), (13, 3)]
    word.returned(1)
    assert watch.check(LONG_S + 1) is Need.NOTHING
    assert word.begins(1) == OVER


def test_short_tasks_are_left_alone(word: BatchPage) -> None:
    """Each is another one when it is looked at."""
    watch = Watchdog(word)
    for index in range(3):
        assert word.begins(index) == BEGUN
        assert watch.check(float(index)) is Need.NOTHING
    assert watch.check(9.0) is Need.NOTHING  # nobody waits behind the last one
    word.rests()
    assert watch.check(99.0) is Need.NOTHING


def test_a_new_batch_is_not_revoked_with_the_old_one(word: BatchPage) -> None:
    """And whoever looks for the old batch's tasks finds none."""
    place = word.place
    word.revoke(1)
    word.rests()
    word.leases([14, 1])
    assert word.unstarted(place) == []
    assert word.begins(0) == BEGUN
    assert word.running == (14, 1)
    assert not word.is_returned(2)


def test_a_task_that_begins_in_the_moment_of_the_revocation_is_doubtful(word: BatchPage) -> None:
    """It does not run, and is handed back by who would have run it."""

    class Numbers:
        """The word's numbers, revoked between two looks at them."""

        def __init__(self) -> None:
            self.numbers = word._numbers

        def __getitem__(self, index: int) -> int:
            return int(self.numbers[index])

        def __setitem__(self, index: int, value: int) -> None:
            self.numbers[index] = value
            other.revoke(1)

    other, numbers = BatchPage(os.dup(word.fd)), word._numbers
    word._numbers = Numbers()  # type: ignore[assignment] # it does what is needed of it
    assert word.begins(1) == DOUBTFUL
    word._numbers = numbers
    other.close()
    assert word.place == BatchPosition(1, -1)


def test_a_task_beyond_its_limit_is_asked_for_its_stack_and_killed(word: BatchPage) -> None:
    """As soon as the stack is there, or when it does not come."""
    word.limits(5.0, 100.0)
    watch = Watchdog(word)
    due = 105.0 + HARD_S
    assert watch.check(100.0) is Need.NOTHING
    assert watch.check(due) is Need.STACK
    assert watch.check(due + 0.1) is Need.NOTHING
    os.pwrite(word.fd, b"File x.py, line 3", PAGE_BYTES)
    assert watch.check(due + 0.2) is Need.KILL
    os.ftruncate(word.fd, PAGE_BYTES)
    assert watch.check(due + STACK_S) is Need.KILL


def test_a_task_that_has_ended_is_not_killed_for_it(word: BatchPage) -> None:
    """The limit goes with the task."""
    word.limits(5.0, 100.0)
    watch = Watchdog(word)
    assert watch.check(105.0 + HARD_S) is Need.STACK
    word.limits(0.0, 0.0)
    word.begins(2)
    assert watch.check(105.0 + HARD_S + STACK_S) is Need.NOTHING


def test_the_guard_ends_the_largest_and_waits_for_the_memory() -> None:
    """Nobody while there is room, no limit, or nobody who is large."""
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


def test_the_guards_cause_is_in_words() -> None:
    """With the limit."""
    assert guarded(512 * MIB) == ("oom", "out of memory (guard at 95 % of 512 MiB)")


def test_a_task_that_goes_on_after_it_was_told_to_stop_is_ended(word: BatchPage) -> None:
    """Not before it had a moment; and not the next one in its place."""
    watch = Watchdog(word)
    watch.stop((11, 1), 10.0)
    assert watch.check(10.0 + HARD_S - 0.1) is not Need.STOP
    assert watch.check(10.0 + HARD_S) is Need.STOP
    watch.stop((11, 1), 20.0)
    word.begins(1)
    assert watch.check(20.0 + HARD_S) is not Need.STOP


def test_only_the_task_that_was_named_is_to_stop(word: BatchPage) -> None:
    """Neither the one before nor the one behind it, nor another run of the same."""
    word.stop(11, 2)
    assert not word.stopping
    word.stop(11, 1)
    assert word.stopping
    assert word.is_behind(12, 2)
    assert not word.is_behind(11, 1)
    word.begins(1)
    assert not word.stopping
    word.rests()
    assert not word.stopping


@pytest.fixture
def board() -> Iterator[SlotsPage]:
    """A board with two tasks, of which the second has a limit of a second."""
    made = SlotsPage.create()
    made.starts(0, 11, 1, 0.0, 0.0)
    made.starts(3, 12, 2, 1.0, 0.0)
    yield made
    made.close()


def test_a_board_says_who_sits_and_one_alone_can_be_blamed(board: SlotsPage) -> None:
    """Of several nobody knows which it was."""
    assert board.all_running == [(11, 1), (12, 2)]
    assert board.running is None
    board.finishes(3)
    assert board.running == (11, 1)


def test_the_task_that_is_to_stop_is_named_and_no_other(board: SlotsPage) -> None:
    """Not the next one on its seat either."""
    board.stop(12, 2)
    assert board.shall_stop(3, 2)
    assert not board.shall_stop(0, 1)
    board.finishes(3)
    board.starts(3, 13, 2, 0.0, 0.0)
    assert not board.shall_stop(3, 2)


def test_a_board_with_one_beyond_its_limit_is_asked_for_its_stack_and_then_killed(board: SlotsPage) -> None:
    """And that one is to blame."""
    watch = SlotsWatchdog(board)
    assert watch.check(1 + HARD_S - 0.1) is Need.NOTHING
    assert watch.check(1 + HARD_S) is Need.STACK
    assert watch.check(1 + HARD_S + STACK_S / 2) is Need.NOTHING
    assert watch.check(1 + HARD_S + STACK_S) is Need.KILL
    assert (watch.blamed, watch.limit_s) == ((12, 2), 1.0)
    board.finishes(3)
    assert watch.check(1 + HARD_S + STACK_S) is Need.NOTHING


def test_a_board_with_one_that_does_not_stop_is_killed(board: SlotsPage) -> None:
    """Unless it has ended meanwhile."""
    watch = SlotsWatchdog(board)
    watch.stop((11, 1), 0.0)
    watch.stop((99, 9), 0.0)
    assert watch.check(HARD_S - 0.1) is Need.NOTHING
    assert watch.check(HARD_S) is Need.STOP
    assert watch.blamed == (11, 1)
    board.finishes(0)
    assert watch.check(HARD_S) is Need.NOTHING


def test_an_executor_that_has_settled_everything_has_a_while_to_end(word: BatchPage) -> None:
    """Then it is asked where it is, and ended, with or without an answer."""
    leaving = Leaving()
    assert leaving.check(word, 0.0) is None
    word.leaves()
    assert leaving.check(word, 1.0) is Need.NOTHING
    assert leaving.check(word, 0.9 + LEAVE_S) is Need.NOTHING
    assert leaving.check(word, 1.0 + LEAVE_S) is Need.STACK
    assert leaving.check(word, 1.1 + LEAVE_S) is Need.NOTHING
    assert leaving.check(word, 1.0 + LEAVE_S + STACK_S) is Need.END
    os.pwrite(word.fd, b"File", PAGE_BYTES)
    assert leaving.check(word, 1.2 + LEAVE_S) is Need.END


def test_the_last_task_is_to_blame_until_its_answer_is_settled(word: BatchPage) -> None:
    """Also when it has ended, unless another runs; those before it can be as well."""
    assert word.blame == Blame([(11, 1)])
    word.rests()
    assert word.running is None
    assert word.blame == Blame([(11, 1)], [])
    assert word.begins(1) == BEGUN
    assert word.blame == Blame([(12, 2)])
    word.rests()
    assert word.blame == Blame([(12, 2)], [(11, 1)])
    word.settled()
    assert not any(word.blame)
    assert word.begins(2) == BEGUN
    assert word.blame.running == [(13, 3)]


def test_on_a_board_too() -> None:
    """What runs is first to blame; where nothing does, what has ended and is not settled."""
    board = SlotsPage.create()
    board.starts(0, 11, 1, 0.0, 0.0)
    board.unsettled([(12, 1), (13, 2)])
    assert board.blame == Blame([(11, 1)])
    board.finishes(0)
    assert board.blame.running == [(12, 1), (13, 2)]
    board.unsettled([(n, 1) for n in range(1, 500)])
    assert board.blame.running[-1] == (499, 1)
    board.unsettled([])
    assert not any(board.blame)
    board.close()
