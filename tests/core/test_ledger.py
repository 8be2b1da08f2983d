"""The ledger, case by case: how each settle of a lease changes a task, and the state after a refused commit."""

import pytest
from tests.core.build import DEFAULTS, envelope, leased, new_ledger, submitted

from distq.core import head
from distq.core.changes import CAUSES_KEPT
from distq.core.errors import PayloadTooLarge, QueueFull
from distq.core.ledger import Ledger
from distq.core.option_values import PLAIN
from distq.core.outcome import Outcome
from distq.core.registry import Defaults
from distq.core.states import DEAD, DELAYED, LEASED, READY, STATE_NAMES, SUCCEEDED
from distq.core.task import Holder, Owner


def delivered_twice(ledger: Ledger) -> tuple[int, Holder]:
    """A task whose first lease was given back, and the holder of its second lease."""
    (key,) = submitted(ledger)
    holder = Holder("second")
    leased(ledger, Holder("first"))
    ledger.settle(key, 1, Outcome.RELEASED, None, 0.0)
    ledger.apply(1.0)
    assert leased(ledger, holder) == [key]
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
    ledger, holder = new_ledger(), Holder("w")
    (key,) = submitted(ledger)
    leased(ledger, holder)
    assert ledger.settle(key, 1, outcome, b"r", 0.1, "ValueError: no")
    assert (ledger.state.tasks[key].state, list(holder.held)) == (LEASED, [key])
    ledger.apply(5.0)
    assert (ledger.state.tasks[key].state, ledger.state.tasks[key].failures) == (state, failures)
    assert (holder.held, ledger.state.tasks[key].state_since_at) == ({}, 5.0)


def test_p4_a_late_success_settles_and_takes_the_running_lease_back() -> None:
    """A late success counts although another executor has already started the task again."""
    ledger = new_ledger()
    key, second = delivered_twice(ledger)
    assert ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.apply(2.0)
    assert (ledger.state.tasks[key].state, second.held) == (SUCCEEDED, {})
    assert ledger.settle(key, 2, Outcome.SUCCESS, b"again", 0.1)
    assert not ledger.changed
    assert ledger.registry.counters_of("q", "f").late == {"success": 2}


@pytest.mark.parametrize(
    "outcome", [Outcome.FAILURE, Outcome.RELEASED, Outcome.FATAL, Outcome.UNKNOWN, Outcome.TIMEOUT]
)
def test_p4_a_late_failure_or_release_changes_nothing_and_is_counted(outcome: int) -> None:
    """The old lease has ended; only the holder of the present lease can settle the task as failed."""
    ledger = new_ledger()
    key, second = delivered_twice(ledger)
    assert ledger.settle(key, 1, outcome, b"e", 0.1)
    assert not ledger.changed
    assert (ledger.state.tasks[key].state, list(second.held)) == (LEASED, [key])
    assert sum(ledger.registry.counters_of("q", "f").late.values()) == 1


def test_p4_a_late_success_overtakes_a_retry_that_waits() -> None:
    """The delayed task is settled, and nothing happens at its `due_at`."""
    ledger = new_ledger()
    (key,) = submitted(ledger)
    leased(ledger, Holder("w"))
    ledger.settle(key, 1, Outcome.FAILURE, b"e", 0.1)
    ledger.apply(0.0)
    ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    assert ledger.succeeds(key)
    ledger.apply(0.5)
    ledger.sweeper.sweep(10.0)
    assert not ledger.changed
    assert ledger.state.tasks[key].state == SUCCEEDED
    assert not ledger.succeeds(key)


def test_p5_a_task_that_kills_its_executors_becomes_a_dead_letter_with_the_causes() -> None:
    """The task is a dead letter with its arguments after five losses; a task that was not running counts none."""
    ledger, holder = new_ledger(), Holder("w")
    key, other = submitted(ledger, 2)
    leased(ledger, holder, 2)
    written = None
    for loss in range(1, 6):
        assert ledger.state.tasks[key].state == LEASED
        assert ledger.lose(holder, "executor", f"killed by SIGKILL ({loss})", running=key)
        written = ledger.batch(float(loss))[key]
        ledger.apply(float(loss))
        assert ledger.state.tasks[key].lost == loss
        assert leased(ledger, holder) == [key if loss < 5 else other]
    task = ledger.state.tasks[key]
    assert (task.state, task.causes) == (DEAD, [f"killed by SIGKILL ({loss})" for loss in range(1, 6)])
    assert (ledger.state.tasks[other].lost, ledger.state.tasks[other].state) == (0, LEASED)
    assert written is not None
    assert isinstance(written[1], bytes)
    assert head.unpack_dead(written[1]) == head.Dead(b"x", b"", [f"killed by SIGKILL ({n})" for n in range(1, 6)])
    assert task.body is None, "a dead letter's body is the store's"
    assert head.unpack(written[0]).state == DEAD


def test_only_the_last_causes_are_kept() -> None:
    """The ledger keeps only the newest CAUSES_KEPT causes of a task."""
    ledger, holder = new_ledger(Defaults(retries=20)), Holder("w")
    (key,) = submitted(ledger)
    for attempt in range(CAUSES_KEPT + 3):
        ledger.sweeper.sweep(attempt * 1000.0)
        ledger.apply(attempt * 1000.0)
        leased(ledger, holder)
        assert ledger.settle(key, attempt + 1, Outcome.FAILURE, b"e", 0.1, f"cause {attempt}")
        ledger.apply(attempt * 1000.0)
    assert ledger.state.tasks[key].causes == [f"cause {attempt}" for attempt in range(3, CAUSES_KEPT + 3)]


def test_p2_a_task_without_retries_left_becomes_a_dead_letter_with_its_error() -> None:
    """The dead letter has its arguments and the last error."""
    ledger, holder = new_ledger(Defaults(retries=1)), Holder("w")
    (key,) = submitted(ledger)
    written = None
    for attempt in (1, 2):
        leased(ledger, holder, now=100.0 * attempt)
        ledger.settle(key, attempt, Outcome.FAILURE, b"error %d" % attempt, 0.1, "ValueError: no")
        written = ledger.batch(100.0 * attempt)[key]
        ledger.apply(100.0 * attempt)
        ledger.sweeper.sweep(100.0 * attempt + 2)
        ledger.apply(100.0 * attempt + 2)
    assert ledger.state.tasks[key].state == DEAD
    assert written is not None
    assert isinstance(written[1], bytes)
    assert head.unpack_dead(written[1]) == head.Dead(b"x", b"error 2", ["ValueError: no"] * 2)


@pytest.mark.parametrize("settled_at", [0.1, 0.7, 1e9 + 0.1, 1763000000.123])
def test_p3_a_result_is_dropped_exactly_at_the_next_deadline(
    settled_at: float,
) -> None:
    """A sweep drops the result exactly at `next_deadline`, for any rounding; otherwise the master would loop."""
    ledger = new_ledger(Defaults(result_ttl_s=0.2))
    (key,) = submitted(ledger)
    leased(ledger, Holder("w"))
    ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.apply(settled_at)
    at = ledger.sweeper.next_deadline()
    assert at is not None
    ledger.sweeper.sweep(at - 0.01)
    assert not ledger.changed
    ledger.sweeper.sweep(at)
    assert ledger.batch(at) == {key: None}
    ledger.apply(at)
    assert (ledger.state.tasks, ledger.sweeper.next_deadline()) == ({}, None)


def test_a_sweep_drops_a_bounded_number_and_the_rest_next_time() -> None:
    """A sweep is short even if an hour of results is due at the same time."""
    ledger, holder = new_ledger(), Holder("w")
    keys = submitted(ledger, 5)
    leased(ledger, holder, 5)
    for key in keys:
        ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.apply(0.0)
    for left in ([2, 3, 4], [4], []):
        ledger.sweeper.sweep(1e6, most=2)
        ledger.sweeper.sweep(1e6, most=2)  # a second sweep in the same cycle decides nothing new
        ledger.apply(1e6)
        assert list(ledger.state.tasks) == [keys[number] for number in left]


def test_p2_a_sweep_that_was_refused_by_the_store_is_made_again() -> None:
    """After refused commits a later sweep still makes the delayed task ready and drops the result."""
    ledger, holder = new_ledger(), Holder("w")
    delayed, done = submitted(ledger, 2)
    leased(ledger, holder, 2)
    ledger.settle(delayed, 1, Outcome.FAILURE, b"e", 0.1)
    ledger.settle(done, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.apply(0.0)
    for _ in range(2):
        ledger.sweeper.sweep(1e6)
        assert ledger.changed
        ledger.forget()
        assert not ledger.changed
    ledger.sweeper.sweep(1e6)
    ledger.apply(1e6)
    assert ledger.state.tasks.keys() == {delayed}
    assert ledger.state.tasks[delayed].state == READY


def test_a_sweep_goes_past_a_task_that_already_changes() -> None:
    """A late success in the same cycle postpones the sweep of its own task only."""
    ledger, holder = new_ledger(), Holder("w")
    first, second = submitted(ledger, 2)
    leased(ledger, holder, 2)
    for key in (first, second):
        ledger.settle(key, 1, Outcome.FAILURE, b"e", 0.1)
    ledger.apply(0.0)
    ledger.settle(first, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.sweeper.sweep(1e3)
    ledger.forget()
    ledger.settle(first, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.sweeper.sweep(1e3)
    ledger.apply(1e3)
    assert [ledger.state.tasks[key].state for key in (first, second)] == [SUCCEEDED, READY]


def test_one_change_a_task_and_cycle() -> None:
    """A second change of a task in one cycle is refused; the same call succeeds in the next cycle."""
    ledger, holder = new_ledger(), Holder("w")
    (key,) = submitted(ledger)
    leased(ledger, holder)
    assert not ledger.reclaim(holder, key, 2)
    assert ledger.lose(holder, "lease", "it fell silent")
    assert not ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    assert not ledger.lose(holder, "lease", "it fell silent")
    assert not ledger.reclaim(Holder("again"), key, 1), "its lease is being ended"
    ledger.apply(1.0)
    assert ledger.settle(key, 1, Outcome.SUCCESS, b"r", 0.1)
    ledger.apply(1.0)
    assert ledger.state.tasks[key].state == SUCCEEDED


def test_an_answer_for_an_unknown_task_is_counted_and_changes_nothing() -> None:
    """The answer may be for a task that was dropped, or for a task of another master."""
    ledger = new_ledger()
    assert ledger.settle(1, 1, Outcome.SUCCESS, b"r", 0.1)
    assert (ledger.unknown_settles, ledger.changed, ledger.reclaim(Holder("w"), 1, 1)) == (1, False, False)


def test_p7_a_submit_is_taken_whole_or_refused_with_a_sentence() -> None:
    """Tasks of the same cycle and dead letters count for the capacity; tasks of a refused commit no longer count."""
    ledger = new_ledger(Defaults(capacity=3, payload_bytes_max=4))
    kind = envelope(ledger)
    ledger.submit(kind, [b"1", b"2"], None, 0.0)
    with pytest.raises(QueueFull, match="'q' has room for 1 of 2 tasks"):
        ledger.submit(kind, [b"3", b"4"], None, 0.0)
    with pytest.raises(PayloadTooLarge, match="a payload has 5 bytes; the limit is 4"):
        ledger.submit(kind, [b"large"], None, 0.0)
    ledger.forget()
    assert kind.queue.room == 3
    first = ledger.submit(kind, [b"5", b"6", b"7"], None, 0.0)
    ledger.apply(0.0)
    assert ledger.state.tasks.keys() == {first, first + 1, first + 2}
    leased(ledger, Holder("w"))
    ledger.settle(first, 1, Outcome.FATAL, b"e", 0.1)
    ledger.apply(0.0)
    with pytest.raises(QueueFull, match="room for 0 of 1"):
        ledger.submit(kind, [b"8"], None, 0.0)
    assert kind.counters.rejected == {"full": 2, "payload": 1}


def test_each_submit_of_a_cycle_is_stored_with_its_own_queue_and_time() -> None:
    """Tasks of one submit share a head, and tasks of another submit have another head."""
    ledger = new_ledger()
    submits = [("q", 1.0), ("q", 2.0), ("other", 2.0)]
    keys = [ledger.submit(envelope(ledger, queue), [b"x", b""], None, at) for queue, at in submits]
    batch = ledger.batch(3.0)
    for first, (queue, at) in zip(keys, submits, strict=True):
        for key, body in ((first, b"x"), (first + 1, b"")):
            change = batch[key]
            assert change is not None
            assert change[1] == body
            read = head.unpack(change[0])
            assert (read.queue, read.submitted_at, read.state_since_at) == (queue, at, at)


def test_p2_an_owner_receives_the_end_and_a_plain_item_is_dropped_with_it() -> None:
    """The result of a plain item is an item of another queue, so the ledger drops the first item completely."""
    ledger, owner = new_ledger(), Owner()
    key = ledger.submit(envelope(ledger, kind=PLAIN), [b"x"], owner, 0.0)
    ledger.apply(0.0)
    leased(ledger, Holder("w"))
    ledger.settle(key, 1, Outcome.SUCCESS, None, 0.1)
    assert ledger.batch(1.0) == {key: None}
    ledger.apply(1.0)
    assert [task.task_key for task in owner.outbox] == [key]
    assert (ledger.state.owners_to_notify, ledger.state.tasks, ledger.sweeper.next_deadline()) == (
        {owner: None},
        {},
        None,
    )
    assert ledger.registry.queue("q").counts == [0] * len(STATE_NAMES)


def test_the_mean_run_time_follows_the_newest_runs_slowly() -> None:
    """The first run sets the mean; each later run moves it by a twentieth of the difference."""
    ledger, holder = new_ledger(), Holder("w")
    for run_s in (1.0, 3.0):
        (key,) = submitted(ledger)
        leased(ledger, holder)
        ledger.settle(key, 1, Outcome.SUCCESS, b"r", run_s)
        ledger.apply(0.0)
    assert ledger.registry.queue("q").mean_run_s == pytest.approx(1.1)


def test_a_task_that_can_be_to_blame_is_counted_and_runs_alone_next_time() -> None:
    """The task had ended in an executor that died before it sent the answer, while a later task was running."""
    ledger, holder, other = new_ledger(), Holder("first"), Holder("second")
    first, last, untouched = submitted(ledger, 3)
    leased(ledger, holder, want=3)
    assert ledger.lose(holder, "executor", "exit code 1", running=last, begun={first, 99})
    ledger.apply(0.0)
    assert [ledger.state.tasks[key].lost for key in (first, last, untouched)] == [1, 1, 0]
    assert leased(ledger, other, want=3) == [first]


def test_a_task_of_an_executor_that_died_unexplained_is_dead_only_if_it_was_lost_before() -> None:
    """The task had not begun, so even a task with one allowed delivery is a dead letter only after a second loss."""
    ledger = new_ledger(DEFAULTS._replace(max_deliveries=1))
    (key,) = submitted(ledger)
    for loss, state in enumerate((READY, DEAD)):
        holder = Holder("an executor")
        assert leased(ledger, holder) == [key]
        assert ledger.lose(holder, "executor", f"exit code {loss}", running=0, unexplained=True)
        ledger.apply(0.0)
        assert {**ledger.state.tasks, **ledger.state.dead}[key].state == state


def test_a_task_that_may_run_once_is_not_run_again_because_its_answer_was_lost() -> None:
    """The task had begun and ended in an executor that died before it sent the answer."""
    ledger, holder = new_ledger(DEFAULTS._replace(max_deliveries=1)), Holder("an executor")
    key, last = submitted(ledger, 2)
    leased(ledger, holder, want=2)
    assert ledger.lose(holder, "executor", "exit code 1", running=last, begun={key})
    ledger.apply(0.0)
    assert {task.state for task in ledger.state.dead.values()} == {DEAD}
    assert len(ledger.state.dead) == 2
