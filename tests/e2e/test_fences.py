"""Tests of concurrency limits with frozen workers and absent masters: a task with a key ends with its lease."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster, Process, lives
from tests.e2e.holding import go, holders, running
from tests.waiting import eventually

import distq
from distq.master.sessions.timeouts import WHOLE_WORKER_LOST

LEASES = {"DISTQ_LEASE_S": "2s", "DISTQ_HEARTBEAT_S": "0.5s", "DISTQ_RECLAIM_S": "1s"}


def submit_limited(client: distq.Client, held: Path, result: str) -> distq.TaskFuture[str]:
    """Run as a task of the one concurrency key."""
    return client.options(concurrency_key="the one").submit(tasks.hold, str(held), result)


def freeze(pids: list[int], number: int) -> None:
    """Stop these processes, or let them continue."""
    for pid in pids:
        os.kill(pid, number)


def worker(grid: Cluster, kind: str) -> Process:
    """Start a worker with one slot and an executor of the given kind."""
    process = grid.tasks(1, DISTQ_EXECUTOR=kind, DISTQ_EXECUTOR_TASKS="1")
    process.executors()
    return process


@contextmanager
def limited_task(grid: Cluster, held: Path, kind: str) -> Iterator[tuple[Process, int, distq.TaskFuture[str]]]:
    """Start a worker and a task of the key; return the worker, its executor and the task's future."""
    grid.master(**LEASES)
    process = worker(grid, kind)
    with grid.client() as client:
        future = submit_limited(client, held, "one")
        (executor,) = running(held)
        yield process, executor, future
        go(held)
        assert future.result(20) == "one"


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_frozen_worker_does_not_continue_a_task_that_another_runs(grid: Cluster, held: Path, kind: str) -> None:
    """The lease has ended long before the worker continues: no further code of the task runs."""
    with limited_task(grid, held, kind) as (first, executor, future):
        freeze([first.popen.pid, executor], signal.SIGSTOP)
        worker(grid, kind)
        (second,) = [pid for pid in running(held, 2) if pid != executor]
        freeze([executor, first.popen.pid], signal.SIGCONT)  # the supervisor last: it would kill and reap the executor
        (died,) = first.logs("executor_died")
        assert died["cause"] == "its lease was over: the master was not reached in time"
        assert lives(second)
        go(held)
        assert future.result(20) == "one"
        assert sorted(holders(held)) == sorted([executor, second])


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_an_executor_ends_with_its_lease_while_its_supervisor_is_stuck(grid: Cluster, held: Path, kind: str) -> None:
    """The supervisor cannot renew the lease, and no other process could end the task."""
    with limited_task(grid, held, kind) as (first, executor, _):
        first.signal(signal.SIGSTOP)
        eventually(lambda: not lives(executor), "the end of the executor")
        assert holders(held) == [executor]
        first.signal(signal.SIGCONT)
        running(held, 2)


def test_a_task_that_holds_the_gil_keeps_its_lease(grid: Cluster, held: Path) -> None:
    """The supervisor renews the lease for three times its length."""
    grid.master(**LEASES)
    first = worker(grid, "process")
    with grid.client() as client:
        one = client.options(concurrency_key="the one")
        assert one.submit(tasks.hold_gil, str(held), 6.0).result(30) == "done"
    assert first.events("executor_died") == []


def test_a_killed_worker_holds_its_key_until_its_lease_is_over(grid: Cluster, held: Path) -> None:
    """Closed sockets prove nothing: the worker may be alive behind a broken network."""
    master = grid.master(**LEASES)
    first = grid.tasks(2)
    with grid.client() as client:
        limited, free = submit_limited(client, held, "limited"), client.submit(tasks.hold, str(held), "free")
        running(held, 2)
        first.destroy()
        lost = master.logs("task_lost", times=2)
        assert [event["task"] for event in lost] == [free.task_id, limited.task_id]
        assert {event["cause"] for event in lost} == {WHOLE_WORKER_LOST}
        grid.tasks(2)
        go(held)
        assert (limited.result(20), free.result(20)) == ("limited", "free")


def test_a_restarted_master_knows_the_task_that_has_just_started(grid: Cluster, held: Path, tmp_path: Path) -> None:
    """The master stored the lease before it sent the task: it never doubts the run, and nothing runs twice."""
    # The lease is longer than the restart of a master on a busy machine: the worker must renew it in time.
    store = {**LEASES, "DISTQ_LEASE_S": "6s", "DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    master = grid.master(**store)
    worker(grid, "process")
    with grid.client() as client:
        first = submit_limited(client, held, "one")
        (executor,) = running(held)
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**store)
        assert again.logs("tasks_loaded")[0]["held"] == 1
        second = submit_limited(client, held, "two")
        worker(grid, "process")
        client.options(delay=7.0).submit(tasks.square, 1).result(20)  # longer than the lease before the restart
        assert holders(held) == [executor]
        go(held)
        assert (first.result(20), second.result(20)) == ("one", "two")
    assert again.events("task_lost") == []


def test_a_stopped_master_does_not_blame_its_workers(grid: Cluster, held: Path) -> None:
    """The master first reads the messages of its workers; a limited task has ended with its lease, and runs again."""
    master = grid.master(**LEASES)
    first = grid.tasks(2)
    with grid.client() as client:
        free = client.submit(tasks.hold, str(held), "free")
        (executor,) = running(held)
        limited = submit_limited(client, held, "limited")
        running(held, 2)
        master.signal(signal.SIGSTOP)
        first.logs("executor_died")  # a quarter of a second before the end of the lease: no renewal is possible
        time.sleep(0.5)  # the length of the fault: the master is stopped until the lease has ended
        master.signal(signal.SIGCONT)
        running(held, 3)
        go(held)
        assert (limited.result(20), free.result(20)) == ("limited", "free")
        assert holders(held).count(executor) == 1
    assert [event["task"] for event in master.events("task_lost")] == [limited.task_id]
