"""Loading: after a restart a master has the tasks that the store has."""

import pytest

from distq.core import head
from distq.core.ledger import Ledger
from distq.core.loading import Loader, UnreadableRow, is_readable, restore, restore_extras
from distq.core.option_values import PLAIN, TASK
from distq.core.outcome import Outcome
from distq.core.policy import POLICIES
from distq.core.ports import Keep
from distq.core.registry import Defaults
from distq.core.retry import Backoff
from distq.core.states import DEAD, DELAYED, LEASED, READY, SUCCEEDED
from distq.core.stream_parts import PARTS
from distq.core.task import DELIVERIES_SKIPPED, Holder, delivery_count

DEFAULTS = Defaults(retries=1, backoff=Backoff(10.0, 60.0), result_ttl_s=100.0)

LONG_NAME = head.pack(Ledger(DEFAULTS, lambda: 0.5, 1).registry.envelope("q", "f", TASK), 0, 1, 0, 0, 1.0, 2.0, 3.0)
LONG_NAME += b"x" * head.TASK_NAME_BYTES_MAX
"""A head whose name is longer than any that distq writes."""


class StoredRows:
    """A store of two dicts."""

    def __init__(self) -> None:
        self.heads: dict[int, bytes] = {}
        self.bodies: dict[int, bytes] = {}

    def cycle(self, ledger: Ledger, now: float) -> None:
        """Store all decisions and apply them."""
        ledger.sweeper.sweep(now)
        for key, row in ledger.batch(now).items():
            if row is None:
                self.heads.pop(key)
                self.bodies.pop(key)
            else:
                self.heads[key] = row[0]
                if not isinstance(row[1], Keep):
                    self.bodies[key] = row[1]
        ledger.apply(now)

    def reopened(self, now: float = 1000.0) -> tuple[Ledger, Holder]:
        """The ledger of a new master on the same rows; its clock shows `now`."""
        ledger = Ledger(DEFAULTS, lambda: 0.5, 2 << 40 | 1)
        loader = Loader(ledger.registry)
        loader.feed(list(self.heads.items()))
        return ledger, restore(ledger, loader, now)


def filled() -> tuple[Ledger, StoredRows, Holder]:
    """Five tasks of one envelope, and a plain item, all submitted at 0."""
    ledger, stored = Ledger(DEFAULTS, lambda: 0.5, 1 << 40 | 1), StoredRows()
    ledger.submit(ledger.registry.envelope("q", "f", TASK, priority=7), [b"0", b"1", b"2", b"3", b"4"], None, 0.0)
    ledger.submit(ledger.registry.envelope("work", PLAIN, PLAIN), [b"item"], None, 0.0)
    stored.cycle(ledger, 0.0)
    return ledger, stored, Holder("one")


def states(ledger: Ledger) -> list[int]:
    """The states of all tasks, in submit order."""
    return [task.state for task in ledger.state.tasks.values()]


def test_p1_accepted_tasks_are_ready_again_in_submit_order() -> None:
    """Each task has its envelope again; its payload is only in the store."""
    _, stored, _ = filled()
    ledger, _ = stored.reopened()
    assert states(ledger) == [READY] * 6
    queue = ledger.registry.queue("q")
    taken = ledger.leasing.lease(Holder("x"), (queue,), lambda _: True, 9, 1.0)
    assert [task.task_key & 0xFF for task in taken] == [1, 2, 3, 4, 5]
    assert {(task.envelope.name, task.envelope.kind, task.envelope.priority, task.body) for task in taken} == {
        ("f", TASK, 7, None)
    }
    assert (queue.counts[LEASED], ledger.registry.queue("work").counts[READY]) == (5, 1)


def test_p4_a_delivery_that_was_never_stored_is_never_given_again() -> None:
    """If the number were used again, the answer to the old delivery would settle the new one."""
    ledger, stored, holder = filled()
    (before,) = ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 1, 0.0)
    again, _ = stored.reopened()
    (after,) = again.leasing.lease(holder, (again.registry.queue("q"),), lambda _: True, 1, 1.0)
    assert (before.task_key, before.delivery, after.delivery) == (after.task_key, 1, DELIVERIES_SKIPPED + 1)


def test_deliveries_are_counted_exactly_over_any_number_of_restarts() -> None:
    """`delivery_count` is exact, although a restarted master continues with much larger delivery numbers."""
    ledger, stored, holder = filled()
    for count in range(1, 4):
        leased = ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 5, 100.0 * count)
        assert [delivery_count(task.delivery) for task in leased] == [count] * 5
        for task in leased:
            ledger.settle(task.task_key, task.delivery, Outcome.SNOOZED, None, 0.1, "", 0.0)
        stored.cycle(ledger, 100.0 * count)
        ledger, holder = stored.reopened()
        stored.cycle(ledger, 100.0 * count + 1)


def test_p2_an_executor_reclaims_a_task_that_runs_for_longer_than_a_second() -> None:
    """A later commit stores the lease, and the executor reclaims it with the right delivery number only."""
    ledger, stored, holder = filled()
    first, second = ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 2, 0.0)
    assert ledger.sweeper.next_deadline() == 1.0
    ledger.settle(second.task_key, second.delivery, Outcome.RELEASED, None, 0.0)
    stored.cycle(ledger, 1.0)
    again, absent = stored.reopened()
    assert (states(again), list(absent.held)) == ([LEASED, *[READY] * 5], [first.task_key])
    back = Holder("back")
    assert not again.reclaim(back, first.task_key, first.delivery + 1)
    assert again.reclaim(back, first.task_key, first.delivery)
    assert (absent.held, list(back.held)) == ({}, [first.task_key])
    assert again.settle(first.task_key, first.delivery, Outcome.SUCCESS, b"r", 5.0)
    stored.cycle(again, 6.0)
    assert again.state.tasks[first.task_key].state == SUCCEEDED


@pytest.mark.parametrize("now", [1000.0, 3.0])
def test_a_task_that_runs_on_over_a_restart_has_run_since_it_was_leased(now: float) -> None:
    """The queue's demand and the operators' views count the run from its lease, not from the year 1970."""
    ledger, stored, holder = filled()
    ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 1, 5.0)
    stored.cycle(ledger, 10.0)
    _, absent = stored.reopened(now)
    (task,) = absent.held.values()
    assert task.leased_at == min(5.0, now)


def test_a_lease_that_no_executor_reclaims_costs_no_delivery() -> None:
    """The executor may have died, but the master does not know that the task was the reason, so no loss counts."""
    ledger, stored, holder = filled()
    ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 1, 0.0)
    stored.cycle(ledger, 1.0)
    again, absent = stored.reopened()
    assert again.lose(absent, "restart", "", running=0)
    stored.cycle(again, 7.0)
    assert (states(again), [task.lost for task in again.state.tasks.values()]) == ([READY] * 6, [0] * 6)


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.FAILURE, DELAYED), (Outcome.FATAL, DEAD)])
def test_failures_and_their_counters_are_exact(outcome: int, state: int) -> None:
    """After a restart a retry is ready at its `due_at`, a dead letter is still dead, and the counters are the same."""
    ledger, stored, holder = filled()
    (task,) = ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 1, 0.0)
    ledger.settle(task.task_key, task.delivery, outcome, b"error", 0.1, "ValueError: no")
    stored.cycle(ledger, 2.0)
    again, _ = stored.reopened()
    found = again.state.tasks[task.task_key]
    assert (found.state, found.failures, found.lost) == (state, 1, 0)
    if state == DELAYED:
        assert again.sweeper.next_deadline() == task.due_at
        again.sweeper.sweep(task.due_at)
        again.apply(task.due_at)
        assert found.state == READY


def test_p3_results_are_dropped_when_their_ttl_is_over_and_not_before() -> None:
    """The TTL begins at the end of the task, also if the master restarts in between."""
    ledger, stored, holder = filled()
    first, second = ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 2, 0.0)
    for at, task in ((3.0, second), (4.0, first)):
        ledger.settle(task.task_key, task.delivery, Outcome.SUCCESS, b"r", 0.1)
        stored.cycle(ledger, at)
    again, _ = stored.reopened()
    assert again.sweeper.next_deadline() == 103.0
    stored.cycle(again, 103.0)
    assert sorted(stored.heads) == [key for key in sorted(again.state.tasks) if key != second.task_key]
    assert first.task_key in again.state.tasks


def test_later_runs_of_heads_replace_earlier_ones() -> None:
    """None as a head drops its key, and a row with a negative key is not a task."""
    _, stored, _ = filled()
    ledger = Ledger(DEFAULTS, lambda: 0.5, 1)
    loader = Loader(ledger.registry)
    loader.feed([*stored.heads.items(), (-1, b"session")])
    loader.feed([(min(stored.heads), None), (-2, b"other"), (-2, None)])
    assert len(loader.take()) == 5
    assert loader.sessions == {-1: b"session"}


def test_a_head_of_another_version_is_refused() -> None:
    """A head of an unknown version raises an error, because its fields would be read wrongly."""
    loader = Loader(Ledger(DEFAULTS, lambda: 0.5, 1).registry)
    loader.feed([(1, b"\xff" * 60)])
    with pytest.raises(UnreadableRow, match="version 255"):
        loader.take()


def test_a_clock_set_back_two_hours_delays_no_task_by_two_hours() -> None:
    """From the restart on, a retry waits for its whole delay and a result stays for its whole TTL."""
    ledger, stored, holder = filled()
    first = next(iter(ledger.state.tasks))
    ledger.leasing.lease(holder, (ledger.registry.queue("q"),), lambda _: True, 2, 7200.0)
    ledger.settle(first, 1, Outcome.FAILURE, b"e", 0.1, "ValueError: no")
    ledger.settle(first + 1, 1, Outcome.SUCCESS, b"r", 0.1)
    stored.cycle(ledger, 7200.0)
    pause_s = ledger.state.tasks[first].due_at - 7200.0
    ledger, _ = stored.reopened(now=1.0)
    assert ledger.state.tasks[first].due_at == 1.0 + pause_s
    assert ledger.sweeper.next_deadline() == 1.0 + pause_s
    ledger.sweeper.sweep(1.0 + pause_s)
    stored.cycle(ledger, 1.0 + pause_s)
    assert ledger.state.tasks[first].state == READY
    stored.cycle(ledger, 1.0 + DEFAULTS.result_ttl_s)
    assert first + 1 not in ledger.state.tasks
    assert all(task.submitted_at <= 1.0 for task in ledger.state.tasks.values())


@pytest.mark.parametrize(
    ("key", "stored", "words"),
    [
        (1 << 40 | 5, b"\1", "Task 1-5 in the store cannot be read"),
        (1 << 40 | 5, LONG_NAME, r"Task 1-5 in the store cannot be read: the name .* is too long"),
        (POLICIES - 1, b"{", "The limits of a queue in the store cannot be read"),
        (POLICIES - 1, b'{"queue": 5}', "The limits of a queue in the store cannot be read"),
        (PARTS - 1, b"\1", "A checkpoint or a part of a stream in the store cannot be read"),
    ],
)
def test_a_damaged_row_keeps_the_master_from_starting_with_a_sentence(key: int, stored: bytes, words: str) -> None:
    """The error says which row it is and what to do; `distq store salvage` leaves the same rows out."""
    ledger = Ledger(DEFAULTS, lambda: 0.5, 2 << 40 | 1)
    loader = Loader(ledger.registry)
    loader.feed([(key, stored)])

    def load() -> None:
        restore(ledger, loader, 0.0)
        restore_extras(ledger, loader, {})

    with pytest.raises(UnreadableRow, match=words) as raised:
        load()
    assert "distq store salvage" in raised.value.hint
    assert not is_readable(key, stored)
