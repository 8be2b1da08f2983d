"""A task submits tasks: a client made in it finds the worker's master and key, and nothing else does."""

import pytest
from tests.e2e import submitting
from tests.e2e.cluster import KEY, Cluster, Process

KINDS = ("process", "thread")


def worker(grid: Cluster, kind: str = "process", slots: int = 2) -> Process:
    """A worker with that number of executors of that kind."""
    return grid.run("worker", "tests.e2e.submitting", "--concurrency", str(slots), "--executor", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_submits_a_task(grid: Cluster, kind: str) -> None:
    """To the master that its worker is of; its client serves all tasks of the process."""
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
    """Where a slot is free for that one."""
    grid.master()
    worker(grid, kind)
    with grid.client() as client:
        assert client.submit(submitting.waits, 1).result(20) == 2


def test_what_a_task_starts_does_not_get_the_key(grid: Cluster) -> None:
    """Not by its environment, its arguments, or a descriptor that it inherits."""
    grid.master()
    worker(grid)
    with grid.client() as client:
        seen, files = client.submit(submitting.looks_around).result(20)
    assert KEY not in seen
    assert "DISTQ_ADDRESS" in seen
    assert "socket" not in files
    assert "memfd" not in files
