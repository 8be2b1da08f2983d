"""Tests on a Python without a GIL, where executors compute in parallel.

Run them with `make free-threaded PYTHON=/path/to/python3.13t`.
"""

import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e import parallel
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go
from tests.waiting import eventually

OBSERVATIONS = 200
POLL_S = 0.01
IN_PARALLEL = 0.8
"""Minimum share of the observations in which both threads can compute; with a GIL one of the two waits."""
IMPORTS = """
import sys
import distq.cli, distq.master.main, distq.worker.executor.main, distq.worker.supervisor.supervisor, uvloop
print(sys._is_gil_enabled())
"""


@pytest.fixture
def free(request: pytest.FixtureRequest, grid: Cluster) -> Cluster:
    """Yield a cluster whose processes run on the given Python."""
    python = request.config.getoption("--free-threaded")
    if python is None:
        pytest.skip("no Python without a GIL was given: `make free-threaded PYTHON=...`")
    grid.python = str(python)
    return grid


def test_no_import_of_distq_enables_the_gil(free: Cluster) -> None:
    """An extension module without support for free threading would enable the GIL."""
    done = subprocess.run([free.python, "-W", "error", "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def state_of(process: int, thread: int) -> str:
    """Return the kernel's state of a thread: R while it computes or could, S while it waits, for example for a GIL."""
    return Path(f"/proc/{process}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]


def test_threads_of_one_executor_compute_in_parallel(free: Cluster, tmp_path: Path) -> None:
    """Two tasks are ready to compute at the same time, however busy the machine is: neither waits for the other."""
    held = tmp_path / "held"
    held.mkdir()
    free.master()
    free.run("worker", "tests.e2e.parallel", "--concurrency", "1", "--executor", "thread", "--executor-tasks", "2")
    with free.client() as client:
        futures = [client.submit(parallel.computes, str(held)) for _ in range(2)]
        eventually(lambda: len(list(held.iterdir())) == 2, "two tasks")
        (process, one), (other_process, other) = (map(int, path.name.split("-")) for path in held.iterdir())
        assert process == other_process
        observations = []
        for _ in range(OBSERVATIONS):
            time.sleep(POLL_S)  # the time between two observations
            observations.append((state_of(process, one), state_of(process, other)))
        go(held)
        for future in futures:
            future.result(30)
    both = observations.count(("R", "R"))
    assert both >= IN_PARALLEL * OBSERVATIONS, f"{both} of {OBSERVATIONS}"


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_tasks_of_every_kind_run_without_a_gil(free: Cluster, executor: str) -> None:
    """Functions, coroutines, generators and errors work, and the worker ends in order."""
    free.master()
    worker = free.run("worker", "tests.e2e.parallel", "--executor", executor)
    with free.client() as client:
        assert client.submit(parallel.doubled, 2).result(20) == 4
        assert client.submit_named("tests.e2e.parallel:doubled_later", [2]).result(20) == 4
        assert list(client.submit(parallel.counts, 3).stream(timeout=20)) == [0, 1, 2]
        assert sum(client.map(parallel.doubled, range(500), timeout=30)) == 500 * 499
        with pytest.raises(ZeroDivisionError):
            client.options(retries=0).submit(parallel.divides).result(20)
    worker.popen.terminate()
    assert worker.ends() == 0
