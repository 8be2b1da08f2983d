"""Tests of executors that run several tasks at a time: limits, stops, deaths and drains affect one task if possible."""

import signal
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import concurrent_tasks
from tests.e2e.cluster import Cluster, Process
from tests.e2e.holding import go, store_the_leases
from tests.waiting import eventually

import distq

SLOTS = 5
Future = distq.TaskFuture[Any]


def worker(grid: Cluster, *arguments: str, **settings: str) -> Process:
    """Start a worker with one executor that runs five tasks at the same time."""
    options = (
        "tests.e2e.concurrent_tasks",
        "--concurrency",
        "1",
        "--executor",
        "thread",
        "--executor-tasks",
        str(SLOTS),
    )
    return grid.run("worker", *options, *arguments, **settings)


def started_processes(folder: Path, count: int) -> set[int]:
    """Wait until `count` files exist, and return the ids of the processes that created them."""
    eventually(lambda: len(list(folder.iterdir())) >= count, f"{count} that wait")
    return {int(path.name.rpartition("-")[2]) for path in folder.iterdir() if "-" in path.name}


def test_threads_and_coroutines_run_at_the_same_time_in_one_process(grid: Cluster, held: Path) -> None:
    """Each task has its own id, reports its progress, and streams."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        futures: list[Future] = [client.submit(concurrent_tasks.waits, str(held), f"t{number}") for number in range(2)]
        futures += [client.submit(concurrent_tasks.awaits, str(held), f"c{number}") for number in range(2)]
        assert len(started_processes(held, 4)) == 1
        eventually(lambda: futures[2].progress() == (0.5, "c0"), "its progress")
        assert list(client.submit(concurrent_tasks.counts, 20).stream(timeout=10)) == list(range(20))
        (row,) = grid.json_of("status", "--json")["workers"]["workers"]
        assert row["slots"] == SLOTS
        go(held)
        assert [future.result(10) for future in futures] == [(future.task_id, 1) for future in futures]
        with pytest.raises(ValueError, match="no"):
            raise client.submit(concurrent_tasks.fails).exception(10) or AssertionError


def test_a_time_limit_ends_one_task_and_disturbs_no_other(grid: Cluster, held: Path) -> None:
    """A thread gets an exception, and a coroutine is cancelled."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        futures: list[Future] = [
            client.submit(concurrent_tasks.waits, str(held), "t"),
            client.submit(concurrent_tasks.awaits, str(held), "c"),
        ]
        before = started_processes(held, 2)
        for task in (concurrent_tasks.too_long, concurrent_tasks.awaits_too_long):
            error = client.submit(task).exception(10)
            assert isinstance(error, distq.TimeLimitExceeded)
            assert str(error) == "exceeded time limit 0.3 s"
            assert task.__name__ in str(error.__cause__)
        assert started_processes(held, 2) == before
        go(held)
        assert [future.result(10)[1] for future in futures] == [1, 1]


def test_only_the_task_that_must_be_killed_is_blamed(grid: Cluster, held: Path) -> None:
    """The other tasks of its executor run again, without the cost of an attempt."""
    master = grid.master()
    worker(grid)
    with grid.client() as client:
        others = [client.submit(concurrent_tasks.waits, str(held), f"t{number}") for number in range(3)]
        started_processes(held, 3)
        error = client.submit(concurrent_tasks.ignores_every_stop).exception(20)
        assert isinstance(error, distq.TimeLimitExceeded)
        assert "ignores_every_stop" in str(error.__cause__)
        started_processes(held, 6)
        go(held)
        assert [future.result(10)[1] for future in others] == [1, 1, 1]
    assert master.events("task_lost") == []


def test_a_stopped_task_cleans_up_and_the_others_continue(grid: Cluster, held: Path) -> None:
    """A coroutine is cancelled immediately."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        other: Future = client.submit(concurrent_tasks.awaits, str(held), "c")
        stopped = client.submit(concurrent_tasks.cleans_up, str(held))
        before = started_processes(held, 2)
        assert stopped.abort()
        eventually((held / "cleaned").exists, "its end")
        go(held)
        assert other.result(10)[1] == 1
        assert len(before) == 1
        with pytest.raises(CancelledError):
            client.result(str(stopped.task_id), 10)


def test_the_stack_of_a_coroutine_shows_where_it_waits(grid: Cluster, held: Path) -> None:
    """`distq stack` shows what the coroutine waits for."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        future = client.submit(concurrent_tasks.awaits, str(held), "c")
        started_processes(held, 1)
        shown = grid.run("stack", str(future.task_id))
        assert shown.ends() == 0
        assert "Task tests.e2e.concurrent_tasks:awaits:" in shown.text
        assert "concurrent_tasks.py" in shown.text
        go(held)
        assert future.exception(10) is None


def test_p5_a_task_that_kills_its_executor_is_found_among_the_tasks_lost_with_it(grid: Cluster, held: Path) -> None:
    """Each lost task may be the cause: the master leases each of them alone, and only the poison task dies again."""
    master = grid.master()
    worker(grid)
    with grid.client() as client:
        others = [client.submit(concurrent_tasks.waits, str(held), f"t{number}") for number in range(3)]
        started_processes(held, 3)
        future = client.submit(concurrent_tasks.poison)
        go(held)
        assert isinstance(future.exception(20), distq.TaskFailed)
        assert all(future.result(20)[1] <= 2 for future in others)
    assert all(event["cause"] == "killed by SIGKILL" for event in master.events("task_lost"))


def test_p9_a_drained_executor_finishes_its_running_tasks(grid: Cluster, held: Path) -> None:
    """Tasks that the executor has not received go to another worker."""
    grid.master()
    first = worker(grid)
    with grid.client() as client:
        futures: list[Future] = [
            client.submit(concurrent_tasks.awaits, str(held), f"c{number}") for number in range(SLOTS + 2)
        ]
        started_processes(held, SLOTS)
        first.signal(signal.SIGTERM)
        first.logs("drain_began")
        worker(grid)
        started_processes(held, SLOTS + 2)
        go(held)
        assert [future.result(10)[1] for future in futures] == [1] * (SLOTS + 2)
        assert first.ends() == 0


def test_p2_a_restarted_master_disturbs_no_running_task(grid: Cluster, held: Path, tmp_path: Path) -> None:
    """The executor reconnects with all its running tasks, and settles each once."""
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'store.db'}"}
    master = grid.master(**store)
    worker(grid)
    with grid.client() as client:
        futures: list[Future] = [client.submit(concurrent_tasks.waits, str(held), f"t{number}") for number in range(3)]
        started_processes(held, 3)
        futures.append(client.submit(concurrent_tasks.awaits, str(held), "c"))
        before = started_processes(held, 4)
        store_the_leases(client)
        master.destroy()
        grid.master(**store)
        go(held)
        assert [future.result(20)[1] for future in futures] == [1] * 4
        assert started_processes(held, 4) == before


def test_an_executor_is_replaced_after_its_number_of_tasks_in_threads(grid: Cluster, held: Path) -> None:
    """The replacement waits until all running tasks of the executor have ended."""
    grid.master()
    process = worker(grid, "--max-tasks", "3")
    with grid.client() as client:
        futures: list[Future] = [client.submit(concurrent_tasks.awaits, str(held), f"c{number}") for number in range(7)]
        started_processes(held, 3)
        go(held)
        assert [future.result(20)[1] for future in futures] == [1] * 7
        assert len(started_processes(held, 8)) == 3
    process.logs("executor_recycled", times=2)


def test_a_task_for_threads_waits_for_a_worker_that_has_them(grid: Cluster) -> None:
    """`distq why` also gives the reason."""
    grid.master()
    grid.run("worker", "tests.e2e.concurrent_tasks", "--concurrency", "1").executors()
    with grid.client() as client:
        future: Future = client.submit(concurrent_tasks.only_in_threads)
        assert not client.flush(0)
        eventually(lambda: future.task_id is not None, "that it was taken")
        why = grid.run("why", str(future.task_id))
        assert why.ends() == 0
        assert "Of 1 worker with its function none has executors of kind thread (DISTQ_EXECUTOR)." in why.text
        worker(grid)
        assert future.result(10) > 0
