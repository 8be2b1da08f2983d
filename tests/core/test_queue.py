"""The order of a queue: by priority, then in submit order; a lost task is leased alone."""

import hypothesis.strategies as st
from hypothesis import given
from tests.core.build import envelope, leased, new_ledger, order, submitted

from distq.core.task import Holder


@given(
    tasks=st.lists(st.tuples(st.sampled_from("fgh"), st.integers(0, 9)), max_size=30),
    want=st.integers(0, 40),
    wanted=st.frozensets(st.sampled_from("fgh")),
)
def test_tasks_come_by_priority_and_then_in_submit_order_across_names(
    tasks: list[tuple[str, int]], want: int, wanted: frozenset[str]
) -> None:
    """The queue gives the tasks of the wanted names in the order of one sorted list."""
    ledger = new_ledger()
    expected = []
    for name, priority in tasks:
        key = ledger.submit(envelope(ledger, name=name, priority=priority), [b""], None, 0.0)
        expected.append((-priority, key, name))
    ledger.apply(0.0)
    taken = ledger.registry.queue("q").take(wanted.__contains__, want)
    assert [task.task_key for task in taken] == [key for _, key, name in sorted(expected) if name in wanted][:want]


def test_a_task_that_was_settled_while_it_was_ready_is_not_leased() -> None:
    """A late success settles a ready task; the queue skips it at each position in its list."""
    ledger = new_ledger()
    keys = submitted(ledger, 5)
    for key in (keys[0], keys[2], keys[4]):
        ledger.settle(key, 9, 0, b"r", 0.1)
    ledger.apply(0.0)
    assert order(ledger.registry.queue("q")) == [keys[1], keys[3]]
    assert order(ledger.registry.queue("q")) == []


def test_a_ready_list_whose_tasks_are_all_settled_is_empty() -> None:
    """The search for the oldest task skips settled tasks, and finds none here."""
    ledger = new_ledger()
    (key,) = submitted(ledger)
    assert ledger.registry.queue("q").oldest_submitted_at() == 0.0
    ledger.settle(key, 1, 0, b"r", 0.1)
    ledger.apply(0.0)
    assert ledger.registry.queue("q").oldest_submitted_at() is None
    assert order(ledger.registry.queue("q")) == []


def test_tasks_released_together_are_leased_first_and_in_submit_order() -> None:
    """A worker that gives back its tasks does not change their order."""
    ledger = new_ledger()
    keys = submitted(ledger, 5)
    holder = Holder("w")
    assert leased(ledger, holder, 3) == keys[:3]
    assert ledger.lose(holder, "connection", "", running=0)
    ledger.apply(1.0)
    assert leased(ledger, holder, 5) == keys


def test_p5_a_task_that_was_lost_is_leased_alone() -> None:
    """A lost task ends a batch and no task joins it, so that only one task can be the reason if an executor dies."""
    ledger = new_ledger()
    keys = submitted(ledger, 4)
    first = Holder("first")
    assert leased(ledger, first, 2) == keys[:2]
    assert ledger.lose(first, "executor", "killed by SIGKILL")
    ledger.apply(1.0)
    busy, free, other = Holder("busy"), Holder("free"), Holder("other")
    assert leased(ledger, free, 4) == keys[:1]
    assert leased(ledger, free, 4) == []
    ledger.submit(envelope(ledger, "other"), [b""], None, 1.0)
    ledger.apply(1.0)
    assert ledger.leasing.lease(busy, (ledger.registry.queue("other"),), lambda name: True, 1, 1.0)
    assert leased(ledger, busy, 4) == []
    assert leased(ledger, other, 4) == keys[1:2]
    assert leased(ledger, Holder("last"), 4) == keys[2:]


def test_p5_a_batch_stops_before_a_lost_task_later_in_the_same_list() -> None:
    """The older task that was only held with the lost one is leased first, without the lost one."""
    ledger = new_ledger()
    other, blamed, later = submitted(ledger, 3)
    holder = Holder("w")
    leased(ledger, holder, 2)
    ledger.lose(holder, "executor", "killed by SIGSEGV", running=blamed)
    ledger.apply(1.0)
    assert leased(ledger, holder, 3) == [other]
    assert leased(ledger, Holder("other"), 3) == [blamed]
    assert leased(ledger, holder, 3) == [later]


def test_a_batch_stops_before_a_task_that_was_lost_and_goes_on_with_another_queue() -> None:
    """Later tasks of the same queue wait behind the lost task; other queues do not wait."""
    ledger = new_ledger()
    lost = submitted(ledger, 1)
    holder = Holder("w")
    leased(ledger, holder)
    ledger.lose(holder, "executor", "exit code 1")
    ledger.apply(0.0)
    urgent = ledger.submit(envelope(ledger, priority=9), [b""], None, 0.0)
    elsewhere = ledger.submit(envelope(ledger, "other"), [b""], None, 0.0)
    first = ledger.submit(envelope(ledger, "first"), [b""], None, 0.0)
    ledger.apply(0.0)
    queues = [ledger.registry.queue(name) for name in ("first", "q", "other")]
    got = ledger.leasing.lease(holder, queues, lambda name: True, 9, 0.0)
    assert [task.task_key for task in got] == [first, urgent, elsewhere]
    assert order(ledger.registry.queue("q")) == lost


def test_a_queue_that_was_served_goes_behind_the_others() -> None:
    """The queue that was served longest ago is first; a queue without ready tasks is not in `ready_queues`."""
    ledger = new_ledger()
    for name in ("a", "b", "c"):
        ledger.submit(envelope(ledger, name), [b"", b""], None, 0.0)
    ledger.apply(0.0)
    queues = list(ledger.state.ready_queues)
    ledger.leasing.lease(Holder("w"), queues, lambda name: True, 1, 0.0)
    assert [queue.name for queue in ledger.state.ready_queues] == ["b", "c", "a"]
    ledger.leasing.lease(Holder("w"), queues[1:], lambda name: True, 2, 0.0)
    assert [queue.name for queue in ledger.state.ready_queues] == ["c", "a"]
