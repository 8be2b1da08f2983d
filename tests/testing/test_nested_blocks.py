"""Tests of blocks of `distq.testing` inside each other, and of what their arguments may be."""

import os
from contextlib import ExitStack
from typing import Any
from unittest.mock import ANY

import pytest
from tests.testing import jobs

import distq
from distq import testing
from distq.client.session import ClientRuntime
from distq.tasks import current


class Array:
    """Compares as an array of numpy does: what == returns has no truth value."""

    def __eq__(self, other: object) -> Any:
        return Array()

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous.")


def test_schedules_at_decorators_run_in_the_eager_mode() -> None:
    """Those of the named modules run as the clock moves, unless the setting turns them off."""
    with testing.eager(jobs) as eager:
        eager.advance(hours=3)
        assert len(eager.submitted(jobs.hourly)) == 3
    for arguments in ({}, {"tasks": jobs, "settings": {"DISTQ_SCHEDULES": "off"}}):
        with testing.eager(**arguments) as eager:  # type: ignore[arg-type]
            eager.advance(hours=3)
            assert not eager.submitted()


def test_an_inner_eager_mode_leaves_the_clients_of_the_outer_one() -> None:
    """Its end closes the clients of its own master only."""
    with testing.eager() as outer:
        with testing.eager() as inner:
            assert inner.client.submit(jobs.add, 1).result() == 1
        assert outer.client.submit(jobs.add, 2).result() == 2
        with pytest.raises(RuntimeError, match="shut down"):
            inner.client.submit(jobs.add, 3)


def test_arguments_without_a_usable_comparison_disturb_no_other_call() -> None:
    """`ANY` equals them, other calls are found among them, and they are found by their pickle."""
    with testing.eager() as eager:
        task = eager.client.submit(jobs.resize, "a")
        eager.client.submit(jobs.resize, Array())  # type: ignore[call-overload]
        assert eager.assert_submitted(jobs.resize, "a").task_id == task.task_id
        assert eager.assert_submitted(jobs.resize, ANY).task_id != task.task_id
        assert eager.assert_submitted(jobs.resize, Array()).task_id != task.task_id  # type: ignore[arg-type]


def test_only_a_task_can_be_asserted() -> None:
    """None does not stand for every function."""
    with testing.eager() as eager:
        eager.client.submit(jobs.name_of_task)
        with pytest.raises(distq.NotATask):
            eager.assert_submitted(None)  # type: ignore[arg-type]


def test_an_inner_hold_leaves_the_outer_one() -> None:
    """Tasks wait until the outer block ends."""
    with testing.cluster(jobs, concurrency=1) as cluster:
        with cluster.hold():
            with cluster.hold():
                future = cluster.client.submit(jobs.add, 1)
            cluster.drain()
            assert not future.done()
        cluster.drain()
        assert future.result(0) == 1


def test_a_setting_that_is_no_text_is_an_error() -> None:
    """The error names the setting."""
    for mode in (testing.cluster, testing.eager):
        with (
            pytest.raises(TypeError, match="DISTQ_RETRIES in `settings` is 0, of the type int: give text"),
            mode(settings={"DISTQ_RETRIES": 0}),  # type: ignore[dict-item]
        ):
            pass


def test_blocks_may_end_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest block that has not ended holds; after the last one the process is as before."""
    monkeypatch.setenv("DISTQ_ADDRESS", "127.0.0.1:2")
    before = (dict(os.environ), current.find_current)
    eager, cluster = ExitStack(), ExitStack()
    with eager, cluster:
        eager.enter_context(testing.eager())
        running = cluster.enter_context(testing.cluster(jobs, concurrency=1))
        eager.close()
        assert os.environ["DISTQ_ADDRESS"] == running.address
        assert distq.Client().submit(jobs.process_id).result(60) != os.getpid()
        later = eager.enter_context(testing.eager())
        cluster.close()
        assert distq.Client().submit(jobs.name_of_task).result() == "name_of_task"
        assert len(later.submitted()) == 1
    assert (dict(os.environ), current.find_current) == before
    client = distq.Client(authkey="k" * 32)
    assert isinstance(client._session, ClientRuntime)
    client.abandon()
