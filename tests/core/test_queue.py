"""The order of a queue: by priority, then in submit order; a lost task is leased alone."""

import hypothesis.strategies as st
from hypothesis import given
from tests.core.build import envelope, leased, ledger, order, submitted

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
    books = ledger()
    expected = []
    for name, priority in tasks:
        key = books.submit(envelope(books, name=name, priority=priority), [b""], None, 0.0)
        expected.append((-priority, key, name))
    books.apply(0.0)
    taken = books.registry.queue("q").take(wanted.__contains__, want)
    assert [task.task_key for task in taken] == [key for _, key, name in sorted(expected) if name in wanted][:want]


def test_what_was_settled_while_it_waited_is_not_given_out() -> None:
    """A late success settles a ready task; the queue skips it at each position in its list."""
    books = ledger()
    keys = submitted(books, 5)
    for key in (keys[0], keys[2], keys[4]):
        books.settle(key, 9, 0, b"r", 0.1)
    books.apply(0.0)
    assert order(books.registry.queue("q")) == [keys[1], keys[3]]
    assert order(books.registry.queue("q")) == []


def test_a_lane_whose_tasks_are_all_settled_is_empty() -> None:
    """The search for the oldest task skips settled tasks, and finds none here."""
    books = ledger()
    (key,) = submitted(books)
    assert books.registry.queue("q").oldest_submitted_at() == 0.0
    books.settle(key, 1, 0, b"r", 0.1)
    books.apply(0.0)
    assert books.registry.queue("q").oldest_submitted_at() is None
    assert order(books.registry.queue("q")) == []


def test_those_given_back_together_are_first_in_line_and_in_submit_order() -> None:
    """A worker that gives back its tasks does not change their order."""
    books = ledger()
    keys = submitted(books, 5)
    holder = Holder("w")
    assert leased(books, holder, 3) == keys[:3]
    assert books.lose(holder, "connection", "", running=0)
    books.apply(1.0)
    assert leased(books, holder, 5) == keys


def test_p5_a_task_that_was_lost_is_leased_alone() -> None:
    """A lost task ends a batch and no task joins it, so that only one task can be the reason if an executor dies."""
    books = ledger()
    keys = submitted(books, 4)
    first = Holder("first")
    assert leased(books, first, 2) == keys[:2]
    assert books.lose(first, "executor", "killed by SIGKILL")
    books.apply(1.0)
    busy, free, other = Holder("busy"), Holder("free"), Holder("other")
    assert leased(books, free, 4) == keys[:1]
    assert leased(books, free, 4) == []
    books.submit(envelope(books, "other"), [b""], None, 1.0)
    books.apply(1.0)
    assert books.leasing.lease(busy, (books.registry.queue("other"),), lambda name: True, 1, 1.0)
    assert leased(books, busy, 4) == []
    assert leased(books, other, 4) == keys[1:2]
    assert leased(books, Holder("last"), 4) == keys[2:]


def test_p5_a_batch_stops_before_a_task_that_was_lost_further_back_in_the_same_line() -> None:
    """The older task that was only held with the lost one is leased first, without the lost one."""
    books = ledger()
    innocent, guilty, later = submitted(books, 3)
    holder = Holder("w")
    leased(books, holder, 2)
    books.lose(holder, "executor", "killed by SIGSEGV", running=guilty)
    books.apply(1.0)
    assert leased(books, holder, 3) == [innocent]
    assert leased(books, Holder("other"), 3) == [guilty]
    assert leased(books, holder, 3) == [later]


def test_a_batch_stops_before_a_task_that_was_lost_and_goes_on_with_another_queue() -> None:
    """Later tasks of the same queue wait behind the lost task; other queues do not wait."""
    books = ledger()
    lost = submitted(books, 1)
    holder = Holder("w")
    leased(books, holder)
    books.lose(holder, "executor", "exit code 1")
    books.apply(0.0)
    urgent = books.submit(envelope(books, priority=9), [b""], None, 0.0)
    elsewhere = books.submit(envelope(books, "other"), [b""], None, 0.0)
    first = books.submit(envelope(books, "first"), [b""], None, 0.0)
    books.apply(0.0)
    queues = [books.registry.queue(name) for name in ("first", "q", "other")]
    got = books.leasing.lease(holder, queues, lambda name: True, 9, 0.0)
    assert [task.task_key for task in got] == [first, urgent, elsewhere]
    assert order(books.registry.queue("q")) == lost


def test_a_queue_that_was_served_goes_behind_the_others() -> None:
    """The queue that was served longest ago is first; a queue without ready tasks is not in `ready_queues`."""
    books = ledger()
    for name in ("a", "b", "c"):
        books.submit(envelope(books, name), [b"", b""], None, 0.0)
    books.apply(0.0)
    queues = list(books.state.ready_queues)
    books.leasing.lease(Holder("w"), queues, lambda name: True, 1, 0.0)
    assert [queue.name for queue in books.state.ready_queues] == ["b", "c", "a"]
    books.leasing.lease(Holder("w"), queues[1:], lambda name: True, 2, 0.0)
    assert [queue.name for queue in books.state.ready_queues] == ["c", "a"]
