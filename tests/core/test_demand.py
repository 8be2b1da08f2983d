"""The slots that a queue needs: at least its running tasks, above zero with ready tasks, and no more than needed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.build import AnyWorker, leased, new_ledger, submitted

from distq.core.constraints import TaskConstraints
from distq.core.demand import LISTS_PER_STEP, Demand, demands, total
from distq.core.ledger import Ledger
from distq.core.option_values import TASK
from distq.core.policy import Policy, Rate, RateWindow
from distq.core.queue import Queue
from distq.core.ready_list import PriorityList
from distq.core.task import Holder, Task

DRAIN_S = 60.0
counts = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("running", "ready", "run_s", "slots"),
    [
        (0, 0, 1.0, 0),
        (3, 0, 1.0, 3),
        (0, 1, 0.001, 1),
        (0, 600, 1.0, 10),
        (0, 601, 1.0, 11),
        (2, 600, 1.0, 12),
        (0, 5, 3600.0, 5),
        (4, 2, 3600.0, 6),
        (1, 10, 0.0, 2),
    ],
)
def test_the_desired_slots_follow_from_the_work_and_the_time_to_drain(
    running: int, ready: int, run_s: float, slots: int
) -> None:
    """With one minute to drain, 600 tasks of one second need ten slots; long tasks need one slot each."""
    assert Demand(running, ready, ready, ready * run_s).desired_slots(DRAIN_S) == slots


@given(counts, counts, st.floats(0, 10**6), st.floats(0.1, 10**6), st.integers(0, 1000))
def test_the_number_is_bounded_and_grows(running: int, ready: int, mean: float, drain: float, constraints: int) -> None:
    """The number is between the running tasks and one slot for each task; more work never needs fewer slots."""
    slots = Demand(running, ready, ready, ready * mean).desired_slots(drain)
    assert running <= slots <= running + ready
    assert slots > running or ready == 0
    later = ready + constraints
    assert Demand(running, later, later, later * mean).desired_slots(drain) >= slots


def queue_of(ledger: Ledger) -> Queue[Task]:
    """The queue on which `submitted` puts its tasks."""
    return ledger.registry.queue("q")


def wanted(ledger: Ledger, now: float = 0.0, placement: AnyWorker | None = None) -> Demand:
    """The demand of that queue."""
    (found,) = filter(None, demands([queue_of(ledger)], placement or AnyWorker(), now, DRAIN_S))
    return found[1]


def test_running_and_ready_tasks_count() -> None:
    """Each ready task counts as one second of work while no run time is known."""
    ledger = new_ledger()
    submitted(ledger, 6)
    leased(ledger, Holder("w"), 2)
    assert wanted(ledger) == Demand(2, 4, 4, 4.0)


def test_a_cancelled_ready_task_does_not_count() -> None:
    """A cancelled task does not count at any position in its list, nor after a search for the oldest task."""
    ledger = new_ledger()
    keys = submitted(ledger, 5)
    for key in (keys[0], keys[1], keys[3]):
        assert ledger.cancel(key)
    ledger.apply(0.0)
    assert wanted(ledger).ready == 2
    assert queue_of(ledger).oldest_submitted_at() == 0.0
    assert wanted(ledger).ready == 2
    assert len(leased(ledger, Holder("w"), 9)) == 2
    assert wanted(ledger) == Demand(2)


def test_tasks_of_paused_names_do_not_count() -> None:
    """Tasks of a paused name do not count, and neither do tasks of a paused queue."""
    ledger = new_ledger()
    submitted(ledger, 4)
    submitted(ledger, 3, name="g")
    queue_of(ledger).set_policy(Policy(paused_names=frozenset({"f"})))
    assert wanted(ledger).ready == 3
    queue_of(ledger).set_policy(Policy(paused=True))
    assert wanted(ledger) == Demand()


def test_a_queue_with_a_concurrency_limit_counts_at_most_that_many_tasks() -> None:
    """With a concurrency limit of 3 and two running tasks, one ready task counts."""
    ledger = new_ledger()
    submitted(ledger, 9)
    leased(ledger, Holder("w"), 2)
    queue_of(ledger).set_policy(Policy(running=3))
    assert wanted(ledger)[:3] == (2, 1, 1)
    queue_of(ledger).set_policy(Policy(running=2))
    assert wanted(ledger) == Demand(2)


def test_a_queue_with_a_rate_counts_the_tasks_that_may_begin_in_time() -> None:
    """With a rate of 1/m and one minute to drain, two tasks may begin: one now and one after a minute."""
    ledger = new_ledger()
    submitted(ledger, 1000)
    queue_of(ledger).set_policy(Policy(rate=Rate.parse("1/m")))
    assert wanted(ledger).desired_slots(DRAIN_S) <= 2
    queue_of(ledger).set_policy(Policy(rate=Rate.parse("1/d")))
    assert wanted(ledger).ready == 1
    leased(ledger, Holder("w"))
    assert wanted(ledger) == Demand(1)
    assert wanted(ledger, now=86_390.0).ready == 1


@given(
    rate=st.builds(Rate, st.integers(1, 50), st.floats(1, 100)),
    steps=st.lists(st.tuples(st.floats(0, 60), st.integers(0, 60)), max_size=8),
    within_s=st.floats(0, 300),
)
def test_a_rate_lets_no_more_begin_than_its_window_says(
    rate: Rate, steps: list[tuple[float, int]], within_s: float
) -> None:
    """The result is at least the present allowance, and at most a full allowance for each period it touches."""
    window, now = RateWindow(rate), 0.0
    for passed_s, want in steps:
        now += passed_s
        if count := min(want, window.allowance(now)):
            window.spend(count, now)
    found = window.within(now, within_s)
    assert window.allowance(now) <= found <= rate.tasks * (math.floor(within_s / rate.period_s) + 1)


def test_a_task_of_several_slots_wants_them() -> None:
    """The work of a task counts once for each slot that it takes."""
    ledger = new_ledger()
    heavy = ledger.registry.envelope("q", "f", TASK, cost=4)
    ledger.submit(heavy, [b"x"] * 3, None, 0.0)
    ledger.apply(0.0)
    assert wanted(ledger) == Demand(0, 3, 12, 12.0)


def test_the_time_limit_counts_as_the_run_time_until_a_run_has_ended() -> None:
    """The first demand of long tasks already has a slot for each; a known mean run time replaces the time limit."""
    ledger = new_ledger()
    long = ledger.registry.envelope("q", "f", TASK, time_limit_s=3600.0)
    ledger.submit(long, [b"x"] * 5, None, 0.0)
    ledger.apply(0.0)
    assert wanted(ledger).desired_slots(DRAIN_S) == 5
    queue_of(ledger).mean_run_s = 0.5
    assert wanted(ledger).desired_slots(DRAIN_S) == 1


def test_the_longest_present_run_counts_as_the_run_time_until_a_run_has_ended() -> None:
    """Without a time limit, each task gets a slot when the longest run has lasted the time to drain."""

    class Running(AnyWorker):
        def longest_run_s(self, queue: Queue[Task]) -> float:
            return 61.0

    ledger = new_ledger()
    submitted(ledger, 6)
    leased(ledger, Holder("w"))
    assert wanted(ledger).desired_slots(DRAIN_S) == 2
    assert wanted(ledger, placement=Running()).desired_slots(DRAIN_S) == 6


def test_tasks_that_are_held_or_delayed_do_not_count() -> None:
    """A concurrency key admits one task; more slots would not start the held or the delayed ones."""
    ledger = new_ledger()
    envelope = ledger.registry.envelope("q", "f", TASK)
    ledger.submit(envelope, [b"x"] * 7, None, 0.0, constraints=TaskConstraints(concurrency_key="customer"))
    ledger.submit(envelope, [b"x"] * 7, None, 0.0, due_at=100.0)
    ledger.apply(0.0)
    assert wanted(ledger).ready == 1


def test_the_lists_of_a_queue_are_examined_in_bounded_steps() -> None:
    """With 20,000 task names on one queue and 3,000 more queues, each step examines a bounded number of lists."""

    class Counting(AnyWorker):
        looked_at = 0

        def most(self, queue: Queue[Task], ready_list: PriorityList[Task]) -> int:
            self.looked_at += 1
            return super().most(queue, ready_list)

    ledger = new_ledger()
    for number in range(20_000):
        submitted(ledger, 1, name=f"job-{number}")
    for number in range(3_000):
        ledger.submit(ledger.registry.envelope(f"q-{number}", "f", TASK), [b"x"], None, 0.0)
    ledger.apply(0.0)
    placement, before, found = Counting(), 0, []
    for step in demands(ledger.registry.queues.values(), placement, 0.0, DRAIN_S):
        if step is None:
            assert placement.looked_at - before < 2 * LISTS_PER_STEP
            before = placement.looked_at
        else:
            found.append(step)
    assert placement.looked_at - before < 2 * LISTS_PER_STEP
    assert found[0] == (queue_of(ledger), Demand(0, 20_000, 20_000, 20_000.0))
    assert total(wants for _, wants in found).ready == 23_000


def test_the_demand_of_several_queues_is_rounded_once() -> None:
    """The sum over all queues is rounded up once, not once for each queue."""
    assert total([Demand(1, 60, 60, 120.0), Demand(0, 120, 120, 120.0)]).desired_slots(DRAIN_S) == 1 + 4
    assert total([]) == Demand()
