"""Tests of faults with real processes: whichever process dies or freezes, each task has exactly one result."""

import os
import signal
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster, Process, lives
from tests.e2e.holding import go, holders, running
from tests.waiting import eventually

import distq

SHORT = {"DISTQ_LEASE_S": "2", "DISTQ_HEARTBEAT_S": "0.5"}


def test_a_task_whose_executor_is_killed_runs_again(grid: Cluster, held: Path) -> None:
    """The worker replaces the executor, and the task runs again."""
    master = grid.master()
    grid.tasks()
    with grid.client() as client:
        future = client.submit(tasks.hold, str(held), "a")
        (victim,) = running(held)
        os.kill(victim, signal.SIGKILL)
        running(held, 2)
        go(held)
        assert future.result(20) == "a"
    assert [event["cause"] for event in master.events("task_lost")] == ["killed by SIGKILL"]


def test_tasks_whose_supervisor_is_killed_run_on_another_worker(grid: Cluster, held: Path) -> None:
    """The executors die with their supervisor, and another worker runs their tasks."""
    master = grid.master(**SHORT)
    worker = grid.tasks(2)
    with grid.client() as client:
        futures = [client.submit(tasks.hold, str(held), name) for name in "ab"]
        victims = running(held, 2)
        worker.signal(signal.SIGKILL)
        eventually(lambda: not any(map(lives, victims)), "the end of the executors")
        grid.tasks(2)
        running(held, 4)
        go(held)
        assert [future.result(20) for future in futures] == ["a", "b"]
    assert len(master.events("task_lost")) == 2


def send(worker: Process, number: int) -> None:
    """Send a signal to all processes of a worker at the same time."""
    for pid in [*worker.children(), worker.popen.pid]:
        os.kill(pid, number)


def test_a_task_whose_worker_is_frozen_runs_again_and_has_one_result(grid: Cluster, held: Path) -> None:
    """The task runs on another worker; the late result of the first one is not a second result."""
    master = grid.master(**SHORT)
    frozen = grid.tasks()
    with grid.client() as client:
        future = client.submit(tasks.hold, str(held), "a")
        running(held)
        send(frozen, signal.SIGSTOP)
        other = grid.tasks()
        running(held, 2)
        go(held)
        assert future.result(20) == "a"
        send(frozen, signal.SIGCONT)
        other.signal(signal.SIGTERM)
        assert other.ends() == 0
        assert client.submit(tasks.square, 5).result(20) == 25
    assert [event["cause"] for event in master.events("task_lost")] == ["its worker fell silent"]


def test_a_task_that_holds_the_gil_for_three_leases_is_delivered_once(grid: Cluster, held: Path) -> None:
    """The supervisor renews the lease, so the task is delivered once."""
    master = grid.master(**SHORT)
    grid.tasks()
    grid.tasks()
    with grid.client() as client:
        assert client.submit(tasks.hold_gil, str(held), 6.5).result(30) == "done"
    assert len(holders(held)) == 1
    assert master.events("task_lost") == []


def is_socket(fd: Path) -> bool:
    """Return whether an entry of /proc/PID/fd is a socket."""
    try:
        return str(fd.readlink()).startswith("socket:")
    except OSError:
        return False  # the process has closed it meanwhile


def test_a_task_ends_although_its_forked_child_lives_on(grid: Cluster, held: Path) -> None:
    """The task's result arrives, and the child keeps no descriptor of the executor open."""
    grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        child = client.submit(tasks.fork, str(held)).result(20)
        eventually(lambda: not any(map(is_socket, Path(f"/proc/{child}/fd").iterdir())), "no socket in the child")
        assert client.submit(tasks.square, 3).result(20) == 9
        (executor,) = worker.children()
        os.kill(executor, signal.SIGKILL)
        assert client.submit(tasks.square, 4).result(20) == 16
    go(held)


def test_a_child_that_returns_from_its_task_is_no_second_executor(grid: Cluster) -> None:
    """The child settles nothing: the parent's result is the only one."""
    grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        assert [client.submit(tasks.fork_and_return).result(20) for _ in range(5)] == ["parent"] * 5
        assert client.submit(tasks.square, 3).result(20) == 9
    assert worker.events("executor_died") == []


def test_a_child_in_a_session_of_its_own_does_not_hide_the_executors_death(grid: Cluster, held: Path) -> None:
    """The task runs again immediately, although the child still lives."""
    grid.master()
    grid.tasks()
    with grid.client() as client:
        assert client.submit(tasks.fork_and_die, str(held)).result(20) == "second"
    go(held)


def test_only_the_running_one_of_hundreds_of_leased_tasks_is_blamed(grid: Cluster, held: Path) -> None:
    """Only the running task is blamed."""
    master = grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        before = [client.submit(tasks.square, n) for n in range(3000)]
        death = client.submit(tasks.fork_and_die, str(held))
        behind = [client.submit(tasks.square, n) for n in range(500)]
        assert death.result(20) == "second"
        assert [future.result(20) for future in (*before, *behind)] == [n * n for n in (*range(3000), *range(500))]
    assert len(worker.events("executor_died")) == 1
    assert [event["cause"] for event in master.events("task_lost")] == ["killed by SIGKILL"]
    go(held)


def test_a_drain_of_a_task_longer_than_its_lease_delivers_it_once(grid: Cluster, held: Path) -> None:
    """The worker drains, the task is delivered once, and the worker leases nothing more."""
    master = grid.master(**SHORT)
    worker = grid.tasks()
    with grid.client() as client:
        future = client.submit(tasks.hold_gil, str(held), 5.0)
        running(held)
        worker.signal(signal.SIGTERM)
        worker.logs("drain_began")
        later = client.submit(tasks.square, 2)
        assert future.result(20) == "done"
        assert worker.ends() == 0
        assert not later.done()
        assert len(holders(held)) == 1
        grid.tasks()
        assert later.result(20) == 4
    assert master.events("task_lost") == []


def test_a_task_that_outlasts_the_drain_is_requeued_uncounted(grid: Cluster, held: Path) -> None:
    """The worker exits with 0, and the next one runs the task."""
    master = grid.master()
    worker = grid.tasks(1, DISTQ_DRAIN_S="0.2")
    with grid.client() as client:
        future = client.submit(tasks.hold, str(held), "a")
        running(held)
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        grid.tasks()
        running(held, 2)
        go(held)
        assert future.result(20) == "a"
    assert master.events("task_lost") == []


def test_a_task_that_kills_its_executors_becomes_a_dead_letter(grid: Cluster) -> None:
    """The task is dead after max_deliveries, with its cause; the worker lives on."""
    master = grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        with pytest.raises(distq.TaskFailed, match="killed by SIGKILL"):
            client.submit(tasks.poison).result(20)
        assert client.submit(tasks.square, 3).result(20) == 9
    assert master.events("task_buried")[0]["lost"] == 3
    assert len(worker.events("executor_died", cause="killed by SIGKILL")) == 3


# A worker whose control group is a folder that the test writes.
IN_A_GROUP = """
import pathlib, sys
from distq.cli.app import run
from distq.worker.supervisor import memory
from distq.worker import main
root = pathlib.Path(sys.argv[1])
main.Cgroup = lambda: memory.Cgroup(root, root)
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_task_that_raises_interrupted_itself_has_failed(grid: Cluster, kind: str) -> None:
    """If the master requeued it without a count, it would run again forever."""
    grid.master()
    grid.tasks(1, "--executor", kind)
    with grid.client() as client:
        for task in (tasks.raises_interrupted, tasks.raises_interrupted_on_a_loop):
            for stopped in (False, True):
                with pytest.raises((distq.TaskFailed, distq.TaskStopped), match="of itself"):
                    client.submit(task, stopped).result(20)


def test_the_largest_executor_is_killed_before_the_kernel_kills_all(grid: Cluster, held: Path, tmp_path: Path) -> None:
    """The supervisor acts at 95 % of the control group's limit and logs the cause; the task runs again."""
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{20 << 20}\n")
    master = grid.master()
    worker = grid.run("worker", "tests.e2e.tasks", "--concurrency", "1", launcher=("-c", IN_A_GROUP, str(tmp_path)))
    with grid.client() as client:
        future = client.submit(tasks.hold, str(held), "a")
        (victim,) = running(held)
        (tmp_path / "memory.current").write_text(f"{62 << 20}\n")
        worker.logs("executor_died", pid=victim)
        (tmp_path / "memory.current").write_text(f"{20 << 20}\n")
        running(held, 2)
        go(held)
        assert future.result(20) == "a"
    assert [event["cause"] for event in master.events("task_lost")] == ["out of memory (guard at 95 % of 64 MiB)"]


def test_a_child_that_a_task_has_just_forked_ends_on_sigterm(grid: Cluster) -> None:
    """The signal comes before the child has the default handlers; pools of multiprocessing end their children so."""
    grid.master()
    grid.tasks()
    with grid.client() as client:
        assert client.submit(tasks.fork_and_end, 20).result(20) == [-signal.SIGTERM] * 20
