"""Limits on what runs at once, while workers are frozen and masters are away: a task with a key ends with its lease."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster, Process, eventually, lives
from tests.e2e.holding import go, holders, running

import distq
from distq.master.absences import WHOLE_WORKER_LOST

LEASES = {"DISTQ_LEASE_S": "2s", "DISTQ_HEARTBEAT_S": "0.5s", "DISTQ_RECLAIM_S": "1s"}


def turn(client: distq.Client, held: Path, result: str) -> distq.TaskFuture[str]:
    """A task of the one key."""
    return client.options(concurrency_key="the one").submit(tasks.hold, str(held), result)


def freeze(pids: list[int], number: int) -> None:
    """Stop these processes, or let them go on."""
    for pid in pids:
        os.kill(pid, number)


def worker(grid: Cluster, kind: str) -> Process:
    """A worker of one slot, whose executors are of this kind."""
    process = grid.tasks(1, DISTQ_EXECUTOR=kind, DISTQ_EXECUTOR_TASKS="1")
    process.executors()
    return process


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_frozen_worker_does_not_go_on_beside_another(grid: Cluster, held: Path, kind: str) -> None:
    """When it thaws its task has been over for long: not a line of it runs any more."""
    grid.master(**LEASES)
    first = worker(grid, kind)
    with grid.client() as client:
        future = turn(client, held, "one")
        (executor,) = running(held)
        freeze([first.popen.pid, executor], signal.SIGSTOP)
        worker(grid, kind)
        (heir,) = [pid for pid in running(held, 2) if pid != executor]
        freeze([first.popen.pid, executor], signal.SIGCONT)
        (died,) = first.logs("executor_died")
        assert died["cause"] == "its lease was over: the master was not reached in time"
        assert lives(heir)
        go(held)
        assert future.result(20) == "one"
        assert sorted(holders(held)) == sorted([executor, heir])


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_an_executor_ends_with_its_lease_though_its_supervisor_is_stuck(grid: Cluster, held: Path, kind: str) -> None:
    """Nobody renews the lease then, and nobody else could end it."""
    grid.master(**LEASES)
    first = worker(grid, kind)
    with grid.client() as client:
        future = turn(client, held, "one")
        (executor,) = running(held)
        first.signal(signal.SIGSTOP)
        eventually(lambda: not lives(executor), "the end of the executor")
        assert holders(held) == [executor]
        first.signal(signal.SIGCONT)
        running(held, 2)
        go(held)
        assert future.result(20) == "one"


def test_a_task_that_holds_the_gil_keeps_its_lease(grid: Cluster, held: Path) -> None:
    """Its supervisor renews it; three times as long as a lease."""
    grid.master(**LEASES)
    first = worker(grid, "process")
    with grid.client() as client:
        one = client.options(concurrency_key="the one")
        assert one.submit(tasks.hold_gil, str(held), 6.0).result(30) == "done"
    assert first.events("executor_died") == []


def test_a_worker_that_was_cut_off_holds_its_key_until_its_lease_is_over(grid: Cluster, held: Path) -> None:
    """That its sockets have closed proves nothing: it may be alive behind a network that is not."""
    master = grid.master(**LEASES)
    first = worker(grid, "process")
    with grid.client() as client:
        future = turn(client, held, "one")
        (executor,) = running(held)
        first.destroy()
        assert not lives(executor)
        worker(grid, "process")
        running(held, 2)
        (lost,) = master.logs("task_lost")
        assert lost["cause"] == WHOLE_WORKER_LOST
        go(held)
        assert future.result(20) == "one"


def test_a_restarted_master_knows_who_had_just_begun(grid: Cluster, held: Path, tmp_path: Path) -> None:
    """The lease was stored before the task was handed over: no second of doubt, and nothing runs twice."""
    store = {**LEASES, "DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    master = grid.master(**store)
    worker(grid, "process")
    with grid.client() as client:
        first = turn(client, held, "one")
        (executor,) = running(held)
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**store)
        assert again.logs("tasks_loaded")[0]["held"] == 1
        second = turn(client, held, "two")
        worker(grid, "process")
        client.options(delay=4.0).submit(tasks.square, 1).result(20)  # longer than any lease of before
        assert holders(held) == [executor]
        go(held)
        assert (first.result(20), second.result(20)) == ("one", "two")
    assert again.events("task_lost") == []


def test_a_master_that_was_stopped_does_not_blame_its_workers(grid: Cluster, held: Path) -> None:
    """It hears first what they have said meanwhile; what ended with its lease is given out again, once."""
    master = grid.master(**LEASES)
    grid.tasks(2)
    with grid.client() as client:
        free = client.submit(tasks.hold, str(held), "free")
        (executor,) = running(held)
        master.signal(signal.SIGSTOP)
        time.sleep(3.0)  # longer than the lease: nobody says anything meanwhile
        master.signal(signal.SIGCONT)
        go(held)
        assert free.result(20) == "free"
        assert holders(held) == [executor]
    assert master.events("task_lost") == []
