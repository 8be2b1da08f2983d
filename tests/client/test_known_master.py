"""Tests of what a client asks a master that it has reached again."""

from typing import Any

from distq.client.future import TaskFuture
from distq.client.known_master import KnownMaster
from distq.client.outbox import Outbox
from distq.client.pending_futures import PendingFutures
from distq.protocol.hello import Greeting
from distq.tasks.failure import TaskLost, TaskUnknown

EPOCH = 7
KEYS = [EPOCH << 40 | number for number in (1, 2, 3)]
GREETING = Greeting(epoch=EPOCH, durable=True, backlog="-1.0")


def known() -> KnownMaster[TaskFuture[Any]]:
    """Return the state of a client that awaits three tasks, and whose submits' connection was greeted."""
    pending = PendingFutures[TaskFuture[Any]](Outbox(), lambda: None, lambda _: None)
    for task_key in KEYS:
        pending.adopt(TaskFuture[Any](None, "task"), task_key)
    made = KnownMaster(pending)
    made.greet(GREETING)
    return made


def test_a_client_whose_session_lives_asks_nothing() -> None:
    """The master has every end that the client has not confirmed."""
    master = known()
    assert master.greet_for_results(GREETING) == []
    assert master.greet_for_results(GREETING) == []


def test_a_client_asks_about_all_tasks_after_its_session_has_ended() -> None:
    """Their ends may have come meanwhile; also if the connection for results was not made before."""
    master = known()
    ended = GREETING._replace(backlog="-2.0")
    assert master.greet_for_results(ended) == KEYS
    assert master.greet_for_results(ended) == []


def test_a_client_asks_a_restarted_master_with_a_store_about_the_tasks_of_the_one_before() -> None:
    """One of the release before says nothing of its backlog."""
    assert known().greet_for_results(GREETING._replace(epoch=EPOCH + 1, backlog="-9.0")) == KEYS
    assert known().greet_for_results(Greeting(epoch=EPOCH + 1, durable=True)) == KEYS


def test_a_task_that_a_client_follows_by_its_id_is_unknown_to_a_master_without_a_store() -> None:
    """Nothing says that its master was restarted; a task of a master that the client has seen is lost."""
    pending = PendingFutures[TaskFuture[Any]](Outbox(), lambda: None, lambda _: None)
    seen, strange = TaskFuture[Any](None, "seen"), TaskFuture[Any](None, "strange")
    master = KnownMaster(pending)
    master.greet(GREETING)
    pending.adopt(seen, KEYS[0])
    pending.adopt(strange, 0xFFFF << 40 | 0xFFFF)
    master.greet(GREETING._replace(epoch=EPOCH + 1, durable=False))
    assert type(strange.exception(0)) is TaskUnknown
    assert str(strange.exception(0)) == "the master does not know the task any more."
    assert type(seen.exception(0)) is TaskLost
    assert "restarted without a store" in str(seen.exception(0))
