"""Tests of `distq.testing.eager`: tasks run at their submit in the calling thread, as executors would run them."""

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.testing import jobs

import distq
from distq import testing

NAME_OF_COROUTINE: Any = jobs.name_of_coroutine
"""A coroutine function, of which type checkers think that its future has a coroutine."""


@pytest.fixture(name="eager")
def running_eager() -> Iterator[testing.Eager]:
    """The eager mode."""
    with testing.eager() as running:
        yield running


def test_a_task_has_run_in_this_thread_when_submit_returns(eager: testing.Eager) -> None:
    """Its future is done; no thread and no process was started."""
    before = threading.active_count()
    future = eager.client.submit(jobs.process_id)
    assert future.done()
    assert future.result(0) == os.getpid()
    assert eager.client.submit(jobs.thread_id).result(0) == threading.get_ident()
    assert threading.active_count() == before
    assert [one.result() for one in as_completed([future])] == [os.getpid()]


def test_arguments_and_results_are_copies(eager: testing.Eager) -> None:
    """A task cannot change what its caller has: both ways are pickled."""
    numbers = [1]
    result = eager.client.submit(jobs.append_to, numbers).result()
    assert (numbers, result) == ([1], [1, 2])


def test_a_call_that_a_client_refuses_is_refused_in_the_eager_mode_too(eager: testing.Eager) -> None:
    """Functions, arguments and options are checked by the same code."""
    with pytest.raises(TypeError, match="missing a required argument"):
        eager.client.submit(jobs.add)  # type: ignore[call-overload]
    with pytest.raises(distq.NotATask, match="lambda"):
        eager.client.submit(lambda: None)
    with pytest.raises(distq.NotPicklable):
        eager.client.submit(jobs.resize, threading.Lock())  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="priority"):
        eager.client.options(priority=10)
    with testing.eager(settings={"DISTQ_PAYLOAD_BYTES_MAX": "1KiB"}) as small, pytest.raises(distq.PayloadTooLarge):
        small.client.submit(jobs.resize, "x" * 2000)


def test_an_exception_arrives_as_from_an_executor(eager: testing.Eager) -> None:
    """It has its type and attributes, and the traceback in the task as its cause."""
    error = eager.client.submit(jobs.only_even, 3).exception()
    assert isinstance(error, jobs.Odd)
    assert error.number == 3
    assert "in only_even" in str(error.__cause__)
    with pytest.raises(jobs.Odd):
        eager.client.submit(jobs.only_even, 5).result()
    assert isinstance(eager.client.submit(jobs.leave).exception(), distq.TaskFailed)


def test_retries_happen_without_waiting(eager: testing.Eager, tmp_path: Path) -> None:
    """Pauses before retries pass on the master's clock; `Retry(after=...)` and `Snooze` too."""
    at = eager.now
    assert eager.client.submit(jobs.succeed_at_third, tmp_path / "attempts").result() == 3
    assert eager.client.submit(jobs.ask_for_retry, tmp_path / "asked").result() == 2
    assert eager.client.submit(jobs.fail, "no").exception() is not None
    assert eager.now - at > 3600


def test_a_task_that_never_ends_is_an_error(eager: testing.Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that always snoozes ends with a sentence, not with a test that hangs."""
    monkeypatch.setattr("distq.testing.eager_master.STEPS_MAX", 50)
    with pytest.raises(testing.TasksUnfinished, match="After 50 runs of tasks and moves of the clock"):
        eager.client.submit(jobs.snooze)


@pytest.mark.parametrize("task", [jobs.descend, jobs.descend_with_retries])
def test_tasks_nested_deeper_than_the_stack_are_an_error(eager: testing.Eager, task: Callable[[int], int]) -> None:
    """A sentence has the depth and what to do; it was a RecursionError, which each level of tasks retried."""
    assert eager.client.submit(task, 20).result() == 20
    with pytest.raises(
        testing.TasksUnfinished, match=r"[0-9]+ tasks run inside each other, and Python's limit"
    ) as found:
        eager.client.submit(task, 400)
    assert "distq.testing.cluster" in found.value.hint
    assert eager.client.submit(task, 20).result() == 20


def test_a_delayed_task_runs_at_its_instant(eager: testing.Eager) -> None:
    """The clock moves to the instant; the options are there to look at."""
    at = eager.now
    assert eager.client.options(delay="3h").submit(jobs.add, 1).result() == 1
    task = eager.assert_submitted(jobs.add, 1)
    assert task.due_at == pytest.approx(task.submitted_at + 3 * 3600)
    assert eager.now >= at + 3 * 3600


def test_scheduled_runs_run_as_the_clock_moves(eager: testing.Eager) -> None:
    """A schedule submits nothing by itself; `advance` runs each of its runs."""
    eager.client.options(cron="0 * * * *").schedule("report", jobs.add, 5, 6)
    assert eager.submitted() == ()
    eager.advance(days=1)
    assert len(eager.submitted(jobs.add)) == 24
    with pytest.raises(ValueError, match="by more than 0 s, not by 0 s"):
        eager.advance()
    with pytest.raises(distq.BadSchedule):
        eager.client.options(cron="61 * * * *").schedule("never", jobs.add, 1)


def test_chains_groups_maps_and_streams_work(eager: testing.Eager) -> None:
    """Dependencies are those of the real ledger."""
    client = eager.client
    assert client.chain(distq.call(jobs.add, 1), distq.call(jobs.add, b=5)).result() == 6
    assert client.gather(distq.call(jobs.add, 1), distq.call(jobs.add, 2)).result() == [1, 2]
    assert list(client.map(jobs.add, range(5), chunksize=2)) == [0, 1, 2, 3, 4]
    assert list(client.submit(jobs.parts, 3).stream()) == [0, 1, 2]
    failed = client.chain(distq.call(jobs.only_even, 1), distq.call(jobs.add))
    assert "has failed: Odd: 1" in str(failed.exception())


def test_unique_keys_and_full_queues_are_refused() -> None:
    """The ledger's limits hold; a refused submit is an error at the future, or at the call with `full`."""
    limits = {"DISTQ_QUEUE_LIMITS": "tiny: capacity=1"}
    with testing.eager(settings=limits) as eager:
        once = eager.client.options(unique_key="one", unique_for="1h")
        once.submit(jobs.add, 1)
        refused = once.submit(jobs.add, 2)
        assert isinstance(refused.exception(), distq.TaskExists)
        same = eager.client.options(unique_key="one", on_conflict="return").submit(jobs.add, 3)
        assert same.result() == 1
        eager.advance(hours=1, seconds=1)
        assert once.submit(jobs.add, 4).result() == 4
        with pytest.raises(distq.QueueFull):
            eager.client.options(queue="tiny", full="raise").gather(distq.call(jobs.add, 1), distq.call(jobs.add, 2))


def test_every_client_of_the_process_is_eager_and_tasks_submit_tasks(eager: testing.Eager) -> None:
    """The tested code makes its own client, and so does a task; a nested task runs inside the outer one."""
    with distq.Client() as own:
        assert own.submit(jobs.album, ["a", "b"]).result() == 2
    assert [task.args for task in eager.submitted(jobs.resize)] == [("a",), ("b",)]
    with pytest.raises(testing.NotSubmitted, match="There were tasks of this function"):
        eager.assert_submitted(jobs.resize, "c")
    (task, *_) = eager.submitted()
    assert eager.client.result(task.task_id) == 2
    assert own.flush()
    with pytest.raises(RuntimeError, match="this client was shut down"):
        own.submit(jobs.add, 1)


def test_current_is_that_of_the_innermost_task(eager: testing.Eager) -> None:
    """`distq.current()` works in tasks, nested ones and coroutines, and nowhere else."""
    assert eager.client.submit(jobs.nested_names).result() == ["nested_names", "name_of_task", "nested_names"]
    assert eager.client.submit(NAME_OF_COROUTINE).result() == "name_of_coroutine"
    with pytest.raises(distq.NotInTask):
        distq.current()


def test_coroutines_run_under_a_running_loop(eager: testing.Eager) -> None:
    """An asynchronous test may submit a coroutine function, and await a future."""

    async def test() -> int:
        await asyncio.wrap_future(eager.client.submit(NAME_OF_COROUTINE))
        return await asyncio.wrap_future(eager.client.submit(jobs.add, 1, 2))

    assert asyncio.run(test()) == 3


def test_hooks_of_tasks_are_set_up_and_torn_down() -> None:
    """An injected value is made once, and its hook ends with the block."""
    with testing.eager() as eager:
        assert [eager.client.submit(jobs.injected_value).result() for _ in range(2)] == ["up 1", "up 1"]
    assert jobs.MODEL_EVENTS == ["up", "down"]
    jobs.MODEL_EVENTS.clear()


def test_a_name_that_this_process_does_not_know_is_an_error_at_the_submit(eager: testing.Eager) -> None:
    """A task of another program is refused with the reason."""
    with pytest.raises(testing.TasksUnfinished, match=r", nowhere, cannot run in this process: NotATask: none"):
        eager.client.submit_named("nowhere", [])


def test_a_task_that_cannot_run_says_why_when_its_result_is_read(eager: testing.Eager) -> None:
    """A wait that would have no end raises the sentence of `distq why`."""
    future = eager.client.options(requires="gpu").submit(jobs.add, 1)
    assert not future.done()
    with pytest.raises(testing.TasksUnfinished, match="none has the labels gpu"):
        future.result()
    assert future.cancel()
    with testing.eager(settings={"DISTQ_LABELS": "gpu"}) as other:
        assert other.client.options(requires="gpu").submit(jobs.add, 1).result() == 1


def test_several_threads_submit(eager: testing.Eager) -> None:
    """Each task runs once, and every result arrives, whichever thread ran it."""
    with ThreadPoolExecutor(4) as pool:
        futures = list(pool.map(lambda number: eager.client.submit(jobs.add, number), range(200)))
    assert [future.result(60) for future in futures] == list(range(200))
    assert len(eager.submitted(jobs.add)) == 200


def test_a_result_is_awaited_while_another_thread_runs_the_task(eager: testing.Eager) -> None:
    """The reader waits for the other thread, and does not take the task for one that cannot end."""
    jobs.STARTED.clear()
    jobs.GATE.clear()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(lambda: eager.client.submit(jobs.wait_at_gate).result())
        assert jobs.STARTED.wait(60)
        (task,) = eager.submitted()
        future = eager.client.future(task.task_id)
        assert future.running()
        with pytest.raises(TimeoutError):
            future.result(0.01)
        reading = pool.submit(future.result, 60)
        jobs.GATE.set()
        assert reading.result() == running.result() != threading.get_ident()


def test_ctrl_c_in_a_task_ends_the_test(eager: testing.Eager) -> None:
    """KeyboardInterrupt is the test's, not an attempt that failed."""
    with pytest.raises(KeyboardInterrupt):
        eager.client.submit(jobs.interrupt)
    assert eager.client.submit(jobs.add, 1).result() == 1


def test_the_block_ends_its_clients_and_nests_with_a_cluster() -> None:
    """Inside a cluster's block clients are real again; after the blocks nothing is left."""
    with testing.eager() as outer:
        with testing.cluster(jobs, concurrency=1) as cluster:
            assert cluster.client.submit(jobs.process_id).result(60) != os.getpid()
            assert distq.Client().submit(jobs.process_id).result(60) != os.getpid()
        assert outer.client.submit(jobs.process_id).result() == os.getpid()
    with pytest.raises(RuntimeError, match="this client was shut down"):
        outer.client.submit(jobs.add, 1)
    assert "DISTQ_ADDRESS" not in os.environ


def test_a_wrong_setting_is_refused() -> None:
    """As with a cluster."""
    with (
        pytest.raises(distq.SettingsError, match="has its own DISTQ_STORE"),
        testing.eager(settings={"DISTQ_STORE": "x"}),
    ):
        pass


@pytest.mark.parametrize("name", ["RETRIES", "retries", "DISTQ_RETRYS"])
def test_an_unknown_setting_is_refused_with_the_nearest_one(name: str) -> None:
    """Without the prefix it would have no effect; a cluster does the same."""
    for block in (testing.eager, testing.cluster):
        with pytest.raises(distq.SettingsError, match=f"{name} is not a setting; did you mean DISTQ_RETRIES?"):
            block(settings={name: "0"}).__enter__()


@pytest.mark.parametrize(
    ("times", "by_s"),
    [
        ({"days": Decimal("0.5")}, 43_200),
        ({"hours": Fraction(1, 2), "seconds": Decimal(1)}, 1_801),
        ({"minutes": 2, "seconds": 0.5}, 120.5),
    ],
)
def test_advance_takes_every_kind_of_real_number(eager: testing.Eager, times: dict[str, Any], by_s: float) -> None:
    """As timeouts do."""
    before = eager.now
    eager.advance(**times)
    assert eager.now - before == pytest.approx(by_s)


@pytest.mark.parametrize("hours", ["3", True, 3j, None, timedelta(hours=3)])
def test_advance_refuses_what_is_no_number_with_a_sentence(eager: testing.Eager, hours: Any) -> None:
    """The sentence names the argument, and the value."""
    with pytest.raises(TypeError, match=re.escape(f"hours of advance() is a number, not {hours!r}")):
        eager.advance(hours=hours)
    numbers: list[Any] = [Decimal("NaN"), 10**400, -1]
    for number in numbers:
        with pytest.raises(ValueError, match="moves the clock forward, by more than 0 s"):
            eager.advance(hours=number)
