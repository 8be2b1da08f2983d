"""Tests of tasks that submit tasks: only a client in a task gets the worker's master and key."""

import signal
from pathlib import Path

import pytest
from tests.e2e import submitting
from tests.e2e.cluster import KEY, Cluster, Process, cluster
from tests.e2e.holding import go
from tests.waiting import eventually

import distq

KINDS = ("process", "thread")


def worker(grid: Cluster, kind: str = "process", slots: int = 2) -> Process:
    """Start a worker with the given number and kind of executors."""
    return grid.run("worker", "tests.e2e.submitting", "--concurrency", str(slots), "--executor", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_submits_a_task(grid: Cluster, kind: str) -> None:
    """The task submits to its worker's master, and one client serves all tasks of the process."""
    grid.master()
    worker(grid, kind)
    with grid.client() as client:
        for number in range(5):
            task_id, address = client.submit(submitting.submits, number).result(20)
            assert address == f"127.0.0.1:{grid.port}"
            assert task_id is not None
            assert client.result(task_id, 20) == number + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_waits_for_a_task(grid: Cluster, kind: str) -> None:
    """The inner task needs a free slot."""
    grid.master()
    worker(grid, kind)
    with grid.client() as client:
        assert client.submit(submitting.waits, 1).result(20) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_wait_on_all_slots_do_not_wait_forever(grid: Cluster, kind: str) -> None:
    """One waiting task fails with the reason, and its slot runs the tasks that the others wait for."""
    grid.master()
    arguments = () if kind == "process" else ("--executor-tasks", "2")
    slots = 2 if kind == "process" else 1
    arguments = ("worker", "tests.e2e.submitting", "--concurrency", str(slots), "--executor", kind, *arguments)
    grid.run(*arguments)
    with grid.client() as client:
        futures = [client.submit(submitting.waits, number) for number in (1, 2)]
        errors = [future.exception(40) for future in futures]
        (refused,) = [error for error in errors if error is not None]
        assert isinstance(refused, distq.NoSlotLeft)
        assert "tasks that wait for tasks hold 2 slots, and no other slot could run it" in str(refused)
        (fine,) = [future for future, error in zip(futures, errors, strict=True) if error is None]
        assert fine.result(1) == futures.index(fine) + 2


def test_a_task_that_waits_for_a_slot_of_a_running_task_is_not_refused(grid: Cluster, held: Path) -> None:
    """Another task occupies the slot, and waits for no task of the master."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        blocker = client.submit(submitting.holds, str(held))
        future = client.submit(submitting.waits, 1)
        assert not future.done()
        with pytest.raises(TimeoutError):
            future.result(5)  # twice the time until a refusal
        go(held)
        assert (future.result(20), blocker.result(20)) == (2, None)


def test_a_program_that_a_task_starts_does_not_get_the_key(grid: Cluster) -> None:
    """The key is not in the environment, the arguments, or an inherited descriptor."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        seen, files = client.submit(submitting.show_environment).result(20)
    assert KEY not in seen
    assert "DISTQ_ADDRESS" in seen
    assert "socket" not in files
    assert "memfd" not in files


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_not_settled_before_the_submits_that_it_leaves_are_accepted(
    grid: Cluster, tmp_path: Path, kind: str, count: int
) -> None:
    """Were its executor killed after that, no other attempt would make them again."""
    grid.master()
    worker(grid, kind, 1)
    (tmp_path / "other").mkdir()
    with cluster(tmp_path / "other") as other, grid.client() as client:
        master = other.master()
        address = f"127.0.0.1:{other.port}"
        client.submit(submitting.leaves_submits, address, KEY, 1).result(20)  # connects the task's client
        master.signal(signal.SIGSTOP)
        future = client.submit(submitting.leaves_submits, address, KEY, count)
        assert client.submit(submitting.adds, 1, 1).result(20) == 2  # the slot is free meanwhile
        assert not future.done()
        master.signal(signal.SIGCONT)
        assert future.result(20) == "settled"
        assert other.count_of("ready") == count + 1


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_submit_into_their_own_full_queue_make_room_for_their_submits(grid: Cluster, kind: str) -> None:
    """A submit that waits for room does not keep the only slot from the tasks whose begin makes the room."""
    grid.master(DISTQ_QUEUE_LIMITS="crowded:capacity=3")
    with grid.client() as client:
        futures = [client.submit(submitting.follows, 20) for _ in range(3)]
        assert client.flush(20)
        worker(grid, kind, 1)
        assert [future.result(20) for future in futures] == [20] * 3

        eventually(lambda: not grid.count_of("ready") + grid.count_of("leased"), "the end of all lines")


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_behind_a_full_queue_are_settled_without_waiting_for_room(grid: Cluster, kind: str) -> None:
    """The submits behind the one that waits for room, and those of later tasks, keep no result either."""
    grid.master(DISTQ_QUEUE_LIMITS="crowded:capacity=5")
    assert grid.run("pause", "--queue", "crowded", "--create").ends() == 0
    worker(grid, kind, 1)
    with grid.client() as client:
        futures = [client.submit(submitting.overfills, 60) for _ in range(4)]
        assert [future.result(20) for future in futures] == [60] * 4  # a client waits 30 s for room
