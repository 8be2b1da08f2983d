"""Tests of `distq worker` with real processes: deaths, drains and restarted masters. Every result arrives once."""

import os
import signal
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from tests.e2e.cluster import Cluster, lives
from tests.e2e.holding import go, holders, running
from tests.waiting import eventually

from distq import QueueManager


def results_of(manager: QueueManager, count: int) -> list[Any]:
    """Return `count` results, and check that there is no further one."""
    results = manager.get_result_queue()
    found = sorted(results.get(timeout=20) for _ in range(count))
    with pytest.raises(Empty):
        results.get(timeout=0.2)
    return found


def test_items_run_and_their_results_return(grid: Cluster) -> None:
    """Two workers of two executors each run every item exactly once."""
    grid.master()
    workers = [grid.worker("square", 2) for _ in range(2)]
    manager = grid.manager()
    for number in range(300):
        manager.get_work_queue().put(number)
    assert results_of(manager, 300) == sorted(number**2 for number in range(300))
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert worker.events("worker_stopped")[0]["failed"] == 0


@pytest.mark.parametrize("item", ["SIGKILL", "exit"])
def test_an_item_that_keeps_killing_its_executor_becomes_a_dead_letter(grid: Cluster, item: str) -> None:
    """The dead letter has max_deliveries and the decoded cause; the worker lives on and runs other items."""
    cause = {"SIGKILL": "killed by SIGKILL", "exit": "exit code 3"}[item]
    master = grid.master(DISTQ_MAX_DELIVERIES="3")
    worker = grid.worker("poison")
    manager = grid.manager()
    manager.get_work_queue().put(item)
    (event,) = master.logs("task_buried")
    assert (event["cause"], event["lost"]) == (cause, 3)
    assert len(worker.logs("executor_died", times=3, cause=cause)) == 3
    manager.get_work_queue().put("fine")
    assert results_of(manager, 1) == ["fine"]


def test_an_item_that_raises_is_retried_and_then_dead(grid: Cluster) -> None:
    """Each failure is one warning with the task, the attempt and the cause."""
    master = grid.master(DISTQ_RETRIES="2", DISTQ_RETRY_BASE_S="0.01")
    worker = grid.worker("poison")
    grid.manager().get_work_queue().put("raise")
    (dead_letter,) = master.logs("task_buried")
    assert dead_letter["failures"] == 3
    failures = worker.logs("task_failed", times=3, cause="ValueError: as the item says", task=dead_letter["task"])
    assert [event["attempt"] for event in failures] == [1, 2, 3]


def test_an_executor_killed_during_a_task_costs_nothing(grid: Cluster, held: Path) -> None:
    """The worker replaces the executor, the task runs again, and one result arrives."""
    grid.master()
    worker = grid.worker("hold", 2)
    manager = grid.manager()
    manager.get_work_queue().put((str(held), "a"))
    (victim,) = running(held)
    os.kill(victim, signal.SIGKILL)
    running(held, 2)
    go(held)
    assert results_of(manager, 1) == ["a"]
    assert worker.events("executor_died", pid=victim)[0]["cause"] == "killed by SIGKILL"


def test_only_the_running_task_of_a_killed_executor_is_blamed(grid: Cluster, held: Path) -> None:
    """The other leased tasks of the executor go back without a counted delivery."""
    master = grid.master()
    worker = grid.worker("echo")
    manager = grid.manager()
    work = manager.get_work_queue()
    for number in range(200):
        work.put(number)
    assert len(results_of(manager, 200)) == 200
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    grid.worker("hold")
    for name in "abc":
        work.put((str(held), name))
    (victim,) = running(held)
    os.kill(victim, signal.SIGKILL)
    go(held)
    assert results_of(manager, 3) == ["a", "b", "c"]
    assert len(master.events("task_lost")) == 1


def test_a_killed_worker_leaves_no_executor_and_loses_no_task(grid: Cluster, held: Path) -> None:
    """The executors die with the worker, and another worker runs their tasks."""
    grid.master(DISTQ_LEASE_S="2", DISTQ_HEARTBEAT_S="0.5")
    worker = grid.worker("hold", 2)
    manager = grid.manager()
    for name in "ab":
        manager.get_work_queue().put((str(held), name))
    victims = running(held, 2)
    worker.signal(signal.SIGKILL)
    eventually(lambda: not any(map(lives, victims)), "the end of the executors")
    go(held)
    grid.worker("hold", 2)
    assert results_of(manager, 2) == ["a", "b"]


def test_processes_that_a_killed_executor_started_end_with_it(grid: Cluster, held: Path) -> None:
    """The task now runs on another executor, and its child process must not continue here."""
    grid.master()
    grid.worker("fork")
    grid.manager().get_work_queue().put(str(held))
    (victim,) = running(held)
    (child,) = [int(file.name.removeprefix("child-")) for file in held.glob("child-*")]
    assert lives(child)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not lives(child), "the end of the child")


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGHUP)])
def test_a_signal_lets_the_running_task_end_and_leases_no_other(
    grid: Cluster, held: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """The worker exits with 0 after the result; the next item stays. A terminal that closes sends its signal twice."""
    grid.master()
    worker = grid.worker("hold")
    manager = grid.manager()
    manager.get_work_queue().put((str(held), "first"))
    running(held)
    manager.get_work_queue().put((str(held), "second"))
    for number in numbers:
        worker.signal(number)
        worker.logs("drain_began")
    go(held)
    assert worker.ends() == 0
    assert results_of(manager, 1) == ["first"]
    assert manager.get_work_queue().qsize() == 1


def test_a_drain_longer_than_a_lease_delivers_once(grid: Cluster, held: Path) -> None:
    """The supervisor renews the lease while it waits."""
    master = grid.master(DISTQ_LEASE_S="1", DISTQ_HEARTBEAT_S="0.2")
    worker, other = grid.worker("hold"), grid.worker("hold")
    manager = grid.manager()
    manager.get_work_queue().put((str(held), "a"))
    (holder,) = running(held)
    owner = worker if holder in worker.children() else other
    owner.signal(signal.SIGTERM)
    with pytest.raises(Empty):
        manager.get_result_queue().get(timeout=2.5)
    go(held)
    assert owner.ends() == 0
    assert results_of(manager, 1) == ["a"]
    assert holders(held) == [holder]
    assert master.events("task_lost") == []


def test_an_executor_that_outlasts_the_drain_is_killed_and_its_task_requeued(grid: Cluster, held: Path) -> None:
    """The exit code is 0, because the drain was ordered; the task's deliveries do not count this one."""
    master = grid.master()
    worker = grid.worker("hold", DISTQ_DRAIN_S="0.2")
    manager = grid.manager()
    manager.get_work_queue().put((str(held), "a"))
    (holder,) = running(held)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert not lives(holder)
    eventually(lambda: manager.get_work_queue().qsize() == 1, "the task's return")
    assert master.events("task_lost") == []


def test_a_second_signal_hurries_the_drain(grid: Cluster, held: Path) -> None:
    """The second signal means that the operator does not want to wait."""
    grid.master()
    worker = grid.worker("hold", DISTQ_DRAIN_S="1h")
    grid.manager().get_work_queue().put((str(held), "a"))
    running(held)
    worker.signal(signal.SIGINT)
    worker.logs("drain_began")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_a_worker_waits_for_a_master_that_has_not_started(grid: Cluster) -> None:
    """The worker logs once that it waits, and works when the master starts."""
    worker = grid.worker("square")
    worker.logs("master_not_reached")
    worker.logs("executor_parted", times=3)
    grid.master()
    worker.logs("master_connected")
    manager = grid.manager()
    manager.get_work_queue().put(7)
    assert results_of(manager, 1) == [49]
    assert len(worker.events("master_not_reached")) == 1


def test_a_worker_without_a_master_ends_by_a_signal(grid: Cluster) -> None:
    """A signal ends the worker at any time, with exit code 0."""
    worker = grid.worker("square")
    worker.logs("master_not_reached")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_a_worker_finds_a_restarted_master_again(grid: Cluster) -> None:
    """The same processes continue without an operator."""
    master = grid.master()
    worker = grid.worker("square", 2)
    executors = worker.executors(2)
    master.signal(signal.SIGKILL)
    master.ends()
    worker.logs("master_lost")
    grid.master()
    worker.logs("executor_joined", times=4)
    manager = grid.manager()
    manager.get_work_queue().put(7)
    assert results_of(manager, 1) == [49]
    assert worker.children() == executors


def test_a_wrong_key_ends_the_worker_with_3(grid: Cluster) -> None:
    """The worker exits, because a wrong key never becomes valid."""
    grid.master()
    worker = grid.worker("square", DISTQ_AUTHKEY="another key that is long enough too")
    assert worker.ends() == 3
    assert "does not let us in" in worker.text.splitlines()[-1]


def test_a_handler_that_cannot_be_imported_ends_the_worker_with_2(grid: Cluster) -> None:
    """The sentence names the module and the reason, even without a master."""
    worker = grid.worker("no_such_function", 2)
    assert worker.ends() == 2
    reason = worker.logs("command_failed", code=2)[0]["reason"]
    assert "tests.e2e.handlers:no_such_function cannot be imported: AttributeError" in reason


def test_executors_that_keep_dying_are_replaced_more_slowly(grid: Cluster, tmp_path: Path) -> None:
    """A handler that breaks later (for example because a file system is missing) must not cause endless forks."""
    module = tmp_path / "fragile.py"
    module.write_text("def f(item): return item\n")
    grid.master()
    worker = grid.run("worker", "--plain-handler", "fragile:f", "--concurrency", "1", PYTHONPATH=str(tmp_path))
    (executor,) = worker.executors()
    module.write_text("raise RuntimeError('gone')\n")
    os.kill(executor, signal.SIGKILL)
    died = worker.logs("executor_died", times=4)
    assert died[-1]["cause"] == "exit code 2"
    assert len(worker.events("executor_unable")) == 1
    assert "RuntimeError: gone" in worker.events("executor_unable")[0]["reason"]
    module.write_text("def f(item): return item\n")
    manager = grid.manager()
    manager.get_work_queue().put("mended")
    assert results_of(manager, 1) == ["mended"]


def test_executors_have_the_key_neither_as_an_argument_nor_in_their_environment(grid: Cluster) -> None:
    """A child process of a task must not inherit the key."""
    grid.master()
    grid.worker("key_in_environment")
    manager = grid.manager()
    manager.get_work_queue().put(None)
    assert results_of(manager, 1) == [False]


def test_executors_import_nothing_that_they_do_not_need(grid: Cluster) -> None:
    """The start of an executor delays every task whose executor has died."""
    grid.master()
    grid.worker("burdens")
    manager = grid.manager()
    manager.get_work_queue().put(None)
    assert results_of(manager, 1) == [[]]


# A worker that believes it is process 1: the kernel makes it the parent of its executors' orphans.
AS_INIT = """
import ctypes, os, sys
from distq.cli.app import run
from distq.worker.supervisor import supervisor
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
supervisor.INIT = os.getpid()
sys.exit(run(sys.argv[1:]))
"""


def test_a_worker_that_is_process_1_reaps_orphans(grid: Cluster) -> None:
    """A container starts its worker as process 1; zombies would fill the container's process table."""
    grid.master()
    arguments = ["worker", "--plain-handler", "tests.e2e.handlers:orphan", "--concurrency", "1"]
    worker = grid.run(*arguments, launcher=("-c", AS_INIT))
    (executor,) = worker.executors()
    manager = grid.manager()
    for _ in range(3):
        manager.get_work_queue().put(None)
    orphans = results_of(manager, 3)
    eventually(lambda: worker.children() == [executor], "the orphans' burial")
    assert not any(Path(f"/proc/{orphan}").exists() for orphan in orphans)
    os.kill(executor, signal.SIGKILL)
    assert worker.logs("executor_died")[0]["cause"] == "killed by SIGKILL"
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def status(port: int, path: str) -> tuple[int, str]:
    """Return an answer of a worker's HTTP server."""
    import http.client  # noqa: PLC0415 # one test's need

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_a_workers_probes_distinguish_alive_from_ready(grid: Cluster) -> None:
    """The worker is alive without a master and ready with one; its metrics count."""
    worker = grid.worker("square", DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}")
    worker.logs("master_not_reached")
    assert status(grid.http_port, "/livez")[0] == 200
    assert status(grid.http_port, "/readyz")[0] == 503
    grid.master()
    worker.executors()
    eventually(lambda: status(grid.http_port, "/readyz")[0] == 200, "readiness")
    manager = grid.manager()
    manager.get_work_queue().put(2)
    assert results_of(manager, 1) == [4]
    assert 'distq_worker_tasks_total{pool="default",outcome="success"} 1\n' in status(grid.http_port, "/metrics")[1]


def test_a_master_names_the_worker_that_has_taken_its_http_address(grid: Cluster) -> None:
    """With one `.env` for both, the worker that starts first has it: the error has its process and command."""
    shared = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}"}
    worker = grid.worker("square", 1, **shared)
    worker.logs("http_listened")
    master = grid.run("master", **shared)
    assert master.ends() == 2
    command = Path(f"/proc/{worker.popen.pid}/cmdline").read_bytes().split(b"\0")
    assert f"Process {worker.popen.pid} listens there: {command[0].decode()} " in master.text
    assert "DISTQ_HTTP_ADDRESS" in master.text


def test_a_worker_beside_a_master_with_the_same_http_address_works_without_one(grid: Cluster) -> None:
    """One `.env` sets the same address for both: the worker logs that the address is taken, and runs its tasks."""
    shared = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}"}
    grid.master(**shared).logs("http_listened")  # it accepts workers before that
    worker = grid.worker("square", 1, **shared)
    worker.logs("http_not_served")
    assert "This worker runs without it." in worker.text
    worker.executors()
    manager = grid.manager()
    manager.get_work_queue().put(3)
    assert results_of(manager, 1) == [9]
    assert 'distq_queue_tasks{queue="work"' in status(grid.http_port, "/metrics")[1], "the master's own"
