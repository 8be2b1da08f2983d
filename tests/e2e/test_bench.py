"""`distq bench` against a real master: its figures, its errors, and that nothing of it remains."""

import signal
from contextlib import closing

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


def test_it_measures_and_leaves_other_queues_alone(grid: Cluster) -> None:
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


def test_ctrl_c_removes_its_tasks(grid: Cluster) -> None:
    """Here no worker runs them: they wait in its queue."""
    grid.master()
    with closing(dial([("127.0.0.1", grid.port)], KEY.encode(), timeout_s=SOON_S)) as connection:
        connection.call(BROKER, HELLO, (write_hello(CLI, "test", ""),), timeout_s=SOON_S)
        bench = grid.run("bench", "--queue", "mine")
        asked = ("live", {"filter": "mine"})
        # On one connection, because the benchmark waits for its first task only for some seconds.
        eventually(
            lambda: any(row["ready"] for row in connection.call(BROKER, ADMIN, asked)["rows"]),  # type: ignore[index]
            "its first task",
        )
    bench.signal(signal.SIGINT)
    assert bench.ends() == 130, bench.text
    assert left(grid) == ([], 0)


def test_without_a_master_it_exits_with_3(grid: Cluster) -> None:
    """As every command."""
    bench = grid.run("bench")
    assert bench.ends() == 3
    assert "cannot be reached" in bench.text
