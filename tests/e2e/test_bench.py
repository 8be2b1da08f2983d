"""`distq bench` against a real master: its figures, its errors, and that nothing of it remains."""

import os
import signal
from contextlib import closing

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.waiting import SOON_S, eventually

from distq.cli.bench import Figures
from distq.net.dial import dial
from distq.protocol.hello import CLI, write_hello
from distq.protocol.methods import ADMIN, BROKER, HELLO


def left(grid: Cluster) -> tuple[list[str], int]:
    """Return the queues with tasks, and the number of dead letters."""
    status = grid.json_of("status", "--json")
    queues = [row["name"] for row in status["queues"]["queues"] if row["ready"] or row["leased"] or row["delayed"]]
    return queues, status["overview"]["tasks"]["dead"]


def wait_for_load(grid: Cluster, least: int = 1_000) -> None:
    """Wait until that many tasks were submitted: the throughput is measured from about a hundred on."""
    with closing(dial([("127.0.0.1", grid.port)], KEY.encode(), timeout_s=SOON_S)) as connection:
        connection.call(BROKER, HELLO, (write_hello(CLI, "test", ""),), timeout_s=SOON_S)
        eventually(
            lambda: connection.call(BROKER, ADMIN, ("live", {}))["totals"]["submitted"] >= least,  # type: ignore[index]
            "the load of the benchmark",
        )


def test_the_bench_measures_and_leaves_other_queues_alone(grid: Cluster) -> None:
    """The figures fit each other; a task of another queue waits as before."""
    grid.master()
    grid.tasks(2).logs("executor_joined", times=2)
    with grid.client() as client:
        client.options(queue="other", delay=3600).submit_named("tests.e2e.tasks:square", [1])
        client.flush()
        client.abandon()
    figures = grid.json_of("bench", "--duration", "300ms", "--json")
    assert list(figures) == [*Figures._fields, "limit"]
    assert figures["slots"] == 2
    assert figures["tasks"] > 0
    assert figures["failed"] == 0
    assert figures["commits"] > 0
    assert 0.0 < figures["round_trip_s"] < figures["latency_p50_s"] <= figures["latency_p95_s"]
    assert abs(figures["tasks_per_s"] * figures["duration_s"] - figures["tasks"]) < 1.0
    assert left(grid) == (["other"], 0)


def test_a_task_that_fails_ends_it_and_leaves_no_dead_letter(grid: Cluster) -> None:
    """The sentence has the error."""
    grid.master()
    grid.tasks(1).logs("executor_joined")
    bench = grid.run("bench", "tests.e2e.tasks:divide")
    assert bench.ends() == 1
    assert "The task tests.e2e.tasks:divide fails" in bench.text
    assert left(grid) == ([], 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_bench_and_removes_its_tasks(grid: Cluster, number: signal.Signals) -> None:
    """Here no worker runs them: they wait in its queue. After SIGTERM, which `timeout` sends, they stayed there."""
    grid.master()
    bench = grid.run("bench", "--queue", "mine")
    wait_for_load(grid, least=1)
    bench.signal(number)
    assert bench.ends() == 128 + number, bench.text
    assert "Traceback" not in bench.text
    assert left(grid) == ([], 0)


def test_a_rate_limit_is_the_limit(grid: Cluster) -> None:
    """The tasks that the rate holds back are cancelled; before, the benchmark waited for 2,000 of them."""
    grid.master()
    grid.tasks(1).logs("executor_joined")
    assert grid.run("queue", "set", "slow", "--rate", "20/s", "--create").ends() == 0
    figures = grid.json_of("bench", "--queue", "slow", "--duration", "1s", "--json")
    assert "at its rate 20/s" in figures["limit"]
    assert figures["tasks"] < 2_000
    assert left(grid) == ([], 0)


def test_a_low_rate_is_said_before_anything_is_measured(grid: Cluster) -> None:
    """The second task cannot start in time: a sentence, where a TimeoutError was."""
    grid.master()
    grid.tasks(1).logs("executor_joined")
    assert grid.run("queue", "set", "slow", "--rate", "1/h", "--create").ends() == 0
    bench = grid.run("bench", "--queue", "slow")
    assert bench.ends() == 1
    assert "No task of the benchmark has ended for" in bench.text
    assert "at its rate 1/1h" in bench.text or "at its rate 1/h" in bench.text
    assert "Traceback" not in bench.text
    assert left(grid) == ([], 0)


def test_the_bench_ends_soon_after_the_only_worker(grid: Cluster) -> None:
    """It says that no worker is connected, not after the time of the whole measurement."""
    grid.master()
    worker = grid.tasks(1)
    (executor,) = worker.executors()
    bench = grid.run("bench", "--duration", "10m", DISTQ_LOG_LEVEL="info")
    wait_for_load(grid)
    os.kill(executor, signal.SIGSTOP)  # it cannot take a further task while its worker ends
    worker.destroy()
    assert bench.ends() == 1
    assert "No task of the benchmark has ended for" in bench.text
    assert "No worker is connected." in bench.text


def test_the_bench_ends_soon_after_the_master(grid: Cluster) -> None:
    """It says that the connection is lost, or that a submit finds no master, and where tasks may remain."""
    master = grid.master()
    grid.tasks(1).logs("executor_joined")
    bench = grid.run("bench", "--duration", "10m", "--queue", "mine")
    wait_for_load(grid)
    master.destroy()
    assert bench.ends() == 3
    assert "is lost" in bench.text or "cannot be reached" in bench.text
    assert "Tasks of the benchmark may remain in the queue mine" in bench.text
    assert "Traceback" not in bench.text


@pytest.mark.parametrize("has_worker", [True, False])
def test_ctrl_c_ends_it_while_the_master_is_frozen(grid: Cluster, has_worker: bool) -> None:
    """The exit code is that of an interruption, and the removal of its tasks does not wait for the master."""
    master = grid.master()
    if has_worker:
        grid.tasks(1).logs("executor_joined")
    bench = grid.run("bench", "--duration", "10m", "--queue", "mine")
    wait_for_load(grid, least=1_000 if has_worker else 1)
    master.signal(signal.SIGSTOP)
    bench.signal(signal.SIGINT)
    assert bench.ends() == 130, bench.text
    assert "Tasks of the benchmark may remain in the queue mine" in bench.text
    assert "Traceback" not in bench.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--queue", ""], "queue is a text of 1 to 64 bytes"),
        (["--queue", "x" * 65], "queue is a text of 1 to 64 bytes"),
        ([""], "a task's name is a text such as"),
        (["x" * 200], "a task's name is a text of 1 to 128 bytes"),
    ],
)
def test_names_that_cannot_be_are_usage_errors(grid: Cluster, arguments: list[str], sentence: str) -> None:
    """They were tracebacks."""
    grid.master()
    bench = grid.run("bench", *arguments)
    assert bench.ends() == 2
    assert sentence.lower() in bench.text.lower()
    assert "Traceback" not in bench.text


def test_the_bench_without_a_master_exits_with_3(grid: Cluster) -> None:
    """As every command."""
    bench = grid.run("bench")
    assert bench.ends() == 3
    assert "cannot be reached" in bench.text
