"""The ledger, case by case: how each settle of a lease changes a task, and the state after a refused commit."""

import pytest
from tests.core.build import RULES, envelope, leased, ledger, submitted

from distq.core import head
from distq.core.changes import CAUSES_KEPT
from distq.core.errors import PayloadTooLarge, QueueFull
from distq.core.ledger import Ledger
from distq.core.option_values import PLAIN
from distq.core.outcome import Outcome
from distq.core.registry import Defaults
from distq.core.states import DEAD, DELAYED, LEASED, READY, STATE_NAMES, SUCCEEDED
from distq.core.task import Holder, Owner


def delivered_twice(books: Ledger) -> tuple[int, Holder]:
    """A task whose first lease was given back, and the holder of its second lease."""
    (key,) = submitted(books)
    holder = Holder("second")
    leased(books, Holder("first"))
    books.settle(key, 1, Outcome.RELEASED, None, 0.0)
    books.apply(1.0)
    assert leased(books, holder) == [key]
    return key, holder


@pytest.mark.parametrize(
    ("outcome", "state", "failures"),
    [
        (Outcome.SUCCESS, SUCCEEDED, 0),
        (Outcome.FAILURE, DELAYED, 1),
        (Outcome.RELEASED, READY, 0),
        (Outcome.FATAL, DEAD, 1),
        (Outcome.UNKNOWN, READY, 0),
        (Outcome.TIMEOUT, DELAYED, 1),
    ],
)
def test_p2_each_answer_takes_a_leased_task_on(outcome: int, state: int, failures: int) -> None:
    """Each outcome moves the task to its state and ends the lease: the holder holds no task."""
    books, holder = ledger(), Holder("w")
    (key,) = submitted(books)
    leased(books, holder)
    assert books.settle(key, 1, outcome, b"r", 0.1, "ValueError: no")
    assert (books.state.tasks[key].state, list(holder.held)) == (LEASED, [key])
    books.apply(5.0)
    assert (books.state.tasks[key].state, books.state.tasks[key].failures) == (state, failures)
    assert (holder.held, books.state.tasks[key].state_since_at) == ({}, 5.0)


def test_p4_a_late_success_settles_and_takes_the_running_lease_back() -> None:
    """A late success counts although another executor has already started the task again."""
    books = ledger()
    key, second = delivered_twice(books)
    assert books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    books.apply(2.0)
    assert (books.state.tasks[key].state, second.held) == (SUCCEEDED, {})
    assert books.settle(key, 2, Outcome.SUCCESS, b"again", 0.1)
    assert not books.changed
    assert books.registry.counters_of("q", "f").late == {"success": 2}


@pytest.mark.parametrize(
    "outcome", [Outcome.FAILURE, Outcome.RELEASED, Outcome.FATAL, Outcome.UNKNOWN, Outcome.TIMEOUT]
)
def test_p4_a_late_failure_or_release_changes_nothing_and_is_counted(outcome: int) -> None:
    """The old lease has ended; only the holder of the present lease can settle the task as failed."""
    books = ledger()
    key, second = delivered_twice(books)
    assert books.settle(key, 1, outcome, b"e", 0.1)
    assert not books.changed
    assert (books.state.tasks[key].state, list(second.held)) == (LEASED, [key])
    assert sum(books.registry.counters_of("q", "f").late.values()) == 1


def test_p4_a_late_success_overtakes_a_retry_that_waits() -> None:
    """The delayed task is settled, and nothing happens at its `due_at`."""
    books = ledger()
    (key,) = submitted(books)
    leased(books, Holder("w"))
    books.settle(key, 1, Outcome.FAILURE, b"e", 0.1)
    books.apply(0.0)
    books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    assert books.succeeds(key)
    books.apply(0.5)
    books.sweeper.sweep(10.0)
    assert not books.changed
    assert books.state.tasks[key].state == SUCCEEDED
    assert not books.succeeds(key)


def test_p5_a_task_that_kills_its_executor_again_and_again_is_buried_with_the_cause() -> None:
    """The task is a dead letter with its arguments after five losses; a task that was not running counts none."""
    books, holder = ledger(), Holder("w")
    key, innocent = submitted(books, 2)
    leased(books, holder, 2)
    written = None
    for loss in range(1, 6):
        assert books.state.tasks[key].state == LEASED
        assert books.lose(holder, "executor", f"killed by SIGKILL ({loss})", running=key)
        written = books.batch(float(loss))[key]
        books.apply(float(loss))
        assert books.state.tasks[key].lost == loss
        assert leased(books, holder) == [key if loss < 5 else innocent]
    task = books.state.tasks[key]
    assert (task.state, task.causes) == (DEAD, [f"killed by SIGKILL ({loss})" for loss in range(1, 6)])
    assert (books.state.tasks[innocent].lost, books.state.tasks[innocent].state) == (0, LEASED)
    assert written is not None
    assert isinstance(written[1], bytes)
    assert head.unpack_dead(written[1]) == head.Dead(b"x", b"", [f"killed by SIGKILL ({n})" for n in range(1, 6)])
    assert task.body is None, "a dead letter's body is the store's"
    assert head.unpack(written[0]).state == DEAD


def test_only_the_last_causes_are_kept() -> None:
    """The ledger keeps only the newest CAUSES_KEPT causes of a task."""
    books, holder = ledger(Defaults(retries=20)), Holder("w")
    (key,) = submitted(books)
    for attempt in range(CAUSES_KEPT + 3):
        books.sweeper.sweep(attempt * 1000.0)
        books.apply(attempt * 1000.0)
        leased(books, holder)
        assert books.settle(key, attempt + 1, Outcome.FAILURE, b"e", 0.1, f"cause {attempt}")
        books.apply(attempt * 1000.0)
    assert books.state.tasks[key].causes == [f"cause {attempt}" for attempt in range(3, CAUSES_KEPT + 3)]


def test_p2_what_fails_more_often_than_it_is_retried_is_dead_with_its_error() -> None:
    """The dead letter has its arguments and the last error."""
    books, holder = ledger(Defaults(retries=1)), Holder("w")
    (key,) = submitted(books)
    written = None
    for attempt in (1, 2):
        leased(books, holder, now=100.0 * attempt)
        books.settle(key, attempt, Outcome.FAILURE, b"error %d" % attempt, 0.1, "ValueError: no")
        written = books.batch(100.0 * attempt)[key]
        books.apply(100.0 * attempt)
        books.sweeper.sweep(100.0 * attempt + 2)
        books.apply(100.0 * attempt + 2)
    assert books.state.tasks[key].state == DEAD
    assert written is not None
    assert isinstance(written[1], bytes)
    assert head.unpack_dead(written[1]) == head.Dead(b"x", b"error 2", ["ValueError: no"] * 2)


@pytest.mark.parametrize("settled_at", [0.1, 0.7, 1e9 + 0.1, 1763000000.123])
def test_p3_a_result_is_kept_until_its_time_is_over_and_goes_at_the_moment_that_was_asked_for(
    settled_at: float,
) -> None:
    """A sweep drops the result exactly at `next_deadline`, for any rounding; otherwise the master would loop."""
    books = ledger(Defaults(result_ttl_s=0.2))
    (key,) = submitted(books)
    leased(books, Holder("w"))
    books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    books.apply(settled_at)
    at = books.sweeper.next_deadline()
    assert at is not None
    books.sweeper.sweep(at - 0.01)
    assert not books.changed
    books.sweeper.sweep(at)
    assert books.batch(at) == {key: None}
    books.apply(at)
    assert (books.state.tasks, books.sweeper.next_deadline()) == ({}, None)


def test_a_sweep_drops_a_bounded_number_and_the_rest_next_time() -> None:
    """A sweep is short even if an hour of results is due at the same time."""
    books, holder = ledger(), Holder("w")
    keys = submitted(books, 5)
    leased(books, holder, 5)
    for key in keys:
        books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    books.apply(0.0)
    for left in ([2, 3, 4], [4], []):
        books.sweeper.sweep(1e6, most=2)
        books.sweeper.sweep(1e6, most=2)  # a second sweep in the same cycle decides nothing new
        books.apply(1e6)
        assert list(books.state.tasks) == [keys[number] for number in left]


def test_p2_a_sweep_that_was_refused_by_the_store_is_made_again() -> None:
    """After refused commits a later sweep still makes the delayed task ready and drops the result."""
    books, holder = ledger(), Holder("w")
    delayed, done = submitted(books, 2)
    leased(books, holder, 2)
    books.settle(delayed, 1, Outcome.FAILURE, b"e", 0.1)
    books.settle(done, 1, Outcome.SUCCESS, b"r", 0.1)
    books.apply(0.0)
    for _ in range(2):
        books.sweeper.sweep(1e6)
        assert books.changed
        books.forget()
        assert not books.changed
    books.sweeper.sweep(1e6)
    books.apply(1e6)
    assert books.state.tasks.keys() == {delayed}
    assert books.state.tasks[delayed].state == READY


def test_a_sweep_goes_past_a_task_that_already_changes() -> None:
    """A late success in the same cycle postpones the sweep of its own task only."""
    books, holder = ledger(), Holder("w")
    first, second = submitted(books, 2)
    leased(books, holder, 2)
    for key in (first, second):
        books.settle(key, 1, Outcome.FAILURE, b"e", 0.1)
    books.apply(0.0)
    books.settle(first, 1, Outcome.SUCCESS, b"r", 0.1)
    books.sweeper.sweep(1e3)
    books.forget()
    books.settle(first, 1, Outcome.SUCCESS, b"r", 0.1)
    books.sweeper.sweep(1e3)
    books.apply(1e3)
    assert [books.state.tasks[key].state for key in (first, second)] == [SUCCEEDED, READY]


def test_one_change_a_task_and_cycle() -> None:
    """A second change of a task in one cycle is refused; the same call succeeds in the next cycle."""
    books, holder = ledger(), Holder("w")
    (key,) = submitted(books)
    leased(books, holder)
    assert not books.reclaim(holder, key, 2)
    assert books.lose(holder, "lease", "it fell silent")
    assert not books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    assert not books.lose(holder, "lease", "it fell silent")
    assert not books.reclaim(Holder("again"), key, 1), "its lease is being ended"
    books.apply(1.0)
    assert books.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    books.apply(1.0)
    assert books.state.tasks[key].state == SUCCEEDED


def test_an_answer_for_an_unknown_task_is_counted_and_changes_nothing() -> None:
    """The answer may be for a task that was dropped, or for a task of another master."""
    books = ledger()
    assert books.settle(1, 1, Outcome.SUCCESS, b"r", 0.1)
    assert (books.unknown_settles, books.changed, books.reclaim(Holder("w"), 1, 1)) == (1, False, False)


def test_p7_a_submit_is_taken_whole_or_refused_with_a_sentence() -> None:
    """Tasks of the same cycle and dead letters count for the capacity; tasks of a refused commit no longer count."""
    books = ledger(Defaults(capacity=3, payload_bytes_max=4))
    kind = envelope(books)
    books.submit(kind, [b"1", b"2"], None, 0.0)
    with pytest.raises(QueueFull, match="'q' has room for 1 of 2 tasks"):
        books.submit(kind, [b"3", b"4"], None, 0.0)
    with pytest.raises(PayloadTooLarge, match="a payload of 5 bytes; the limit is 4"):
        books.submit(kind, [b"large"], None, 0.0)
    books.forget()
    assert kind.queue.room == 3
    first = books.submit(kind, [b"5", b"6", b"7"], None, 0.0)
    books.apply(0.0)
    assert books.state.tasks.keys() == {first, first + 1, first + 2}
    leased(books, Holder("w"))
    books.settle(first, 1, Outcome.FATAL, b"e", 0.1)
    books.apply(0.0)
    with pytest.raises(QueueFull, match="room for 0 of 1"):
        books.submit(kind, [b"8"], None, 0.0)
    assert kind.counters.rejected == {"full": 2, "payload": 1}


def test_each_submit_of_a_cycle_is_stored_with_its_own_queue_and_time() -> None:
    """Tasks of one submit share a head, and tasks of another submit have another head."""
    books = ledger()
    submits = [("q", 1.0), ("q", 2.0), ("other", 2.0)]
    keys = [books.submit(envelope(books, queue), [b"x", b""], None, at) for queue, at in submits]
    batch = books.batch(3.0)
    for first, (queue, at) in zip(keys, submits, strict=True):
        for key, body in ((first, b"x"), (first + 1, b"")):
            change = batch[key]
            assert change is not None
            assert change[1] == body
            read = head.unpack(change[0])
            assert (read.queue, read.submitted_at, read.state_since_at) == (queue, at, at)


def test_p2_an_owner_hears_of_the_end_and_a_plain_task_is_gone_with_it() -> None:
    """The result of a plain item is an item of another queue, so the ledger drops the first item completely."""
    books, owner = ledger(), Owner()
    key = books.submit(envelope(books, kind=PLAIN), [b"x"], owner, 0.0)
    books.apply(0.0)
    leased(books, Holder("w"))
    books.settle(key, 1, Outcome.SUCCESS, None, 0.1)
    assert books.batch(1.0) == {key: None}
    books.apply(1.0)
    assert [task.task_key for task in owner.outbox] == [key]
    assert (books.state.owners_to_notify, books.state.tasks, books.sweeper.next_deadline()) == ({owner: None}, {}, None)
    assert books.registry.queue("q").counts == [0] * len(STATE_NAMES)


def test_the_mean_run_time_follows_the_newest_runs_slowly() -> None:
    """The first run sets the mean; each later run moves it by a twentieth of the difference."""
    books, holder = ledger(), Holder("w")
    for run_s in (1.0, 3.0):
        (key,) = submitted(books)
        leased(books, holder)
        books.settle(key, 1, Outcome.SUCCESS, b"r", run_s)
        books.apply(0.0)
    assert books.registry.queue("q").mean_run_s == pytest.approx(1.1)


def test_a_task_that_can_be_to_blame_is_counted_and_runs_alone_next_time() -> None:
    """The task had ended in an executor that died before it sent the answer, while a later task was running."""
    books, holder, other = ledger(), Holder("first"), Holder("second")
    first, last, untouched = submitted(books, 3)
    leased(books, holder, want=3)
    assert books.lose(holder, "executor", "exit code 1", running=last, begun={first, 99})
    books.apply(0.0)
    assert [books.state.tasks[key].lost for key in (first, last, untouched)] == [1, 1, 0]
    assert leased(books, other, want=3) == [first]


def test_what_an_executor_was_given_that_died_unexplained_is_given_up_only_if_it_was_lost_before() -> None:
    """The task had not begun, so even a task with one allowed delivery is a dead letter only after a second loss."""
    books = ledger(RULES._replace(max_deliveries=1))
    (key,) = submitted(books)
    for loss, state in enumerate((READY, DEAD)):
        holder = Holder("an executor")
        assert leased(books, holder) == [key]
        assert books.lose(holder, "executor", f"exit code {loss}", running=0, unexplained=True)
        books.apply(0.0)
        assert {**books.state.tasks, **books.state.dead}[key].state == state


def test_a_task_that_may_run_once_is_not_run_again_because_its_answer_was_lost() -> None:
    """The task had begun and ended in an executor that died before it sent the answer."""
    books, holder = ledger(RULES._replace(max_deliveries=1)), Holder("an executor")
    key, last = submitted(books, 2)
    leased(books, holder, want=2)
    assert books.lose(holder, "executor", "exit code 1", running=last, begun={key})
    books.apply(0.0)
    assert {task.state for task in books.state.dead.values()} == {DEAD}
    assert len(books.state.dead) == 2
