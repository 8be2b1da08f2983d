"""Tests of a master with a store on disk: accepted tasks survive the master."""

import secrets
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go, holders, running, store_the_leases
from tests.ports import free_port

import distq

TASKS = 3_000


def _held_for_long(client: distq.Client, held: Path) -> distq.TaskFuture[str]:
    """Start a task whose lease the master has stored."""
    future = client.submit(tasks.hold, str(held), "done")
    running(held)
    store_the_leases(client)
    return future


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return the setting that names a store of this test's own: a file, or a schema of a database."""
    if request.param == "sqlite":
        return {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    return {"DISTQ_STORE": f"{request.getfixturevalue('database')}&schema=test_{secrets.token_hex(8)}"}


def test_p1_accepted_tasks_survive_a_killed_master(grid: Cluster, store: dict[str, str]) -> None:
    """Structured tasks and plain items survive; the client only waits longer."""
    master = grid.master(**store)
    with grid.client() as client:
        futures = [client.submit(tasks.square, n) for n in range(TASKS)]
        assert client.flush(20)
        grid.manager().get_work_queue().put("plain")
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**store)
        again.logs("tasks_loaded", tasks=TASKS + 1)
        grid.tasks(2)
        assert [future.result(30) for future in futures] == [n * n for n in range(TASKS)]
    assert grid.manager().get_work_queue().get(timeout=5) == "plain"


def test_p2_masters_killed_under_load_lose_nothing(grid: Cluster, store: dict[str, str]) -> None:
    """Workers and the client reconnect, and each result arrives once."""
    grid.tasks(2)
    with grid.client() as client:
        master = grid.master(**store)
        futures = []
        for round_ in range(4):
            futures += [client.submit(tasks.square, n) for n in range(round_ * TASKS, (round_ + 1) * TASKS)]
            futures[-TASKS // 2].result(30)
            master.signal(signal.SIGKILL)
            master.ends()
            master = grid.master(**store)
        results = Counter(future.result(30) for future in futures)
    assert results == Counter(n * n for n in range(4 * TASKS))


def test_p2_a_long_task_is_not_run_again_for_a_restarted_master(
    grid: Cluster, store: dict[str, str], held: Path
) -> None:
    """The master has stored the lease, and the executor names it when it reconnects."""
    master = grid.master(**store)
    grid.tasks()
    with grid.client() as client:
        future = _held_for_long(client, held)
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**store)
        assert again.logs("tasks_loaded")[0]["held"] == 1
        go(held)
        assert future.result(30) == "done"
    assert len(holders(held)) == 1
    assert again.events("task_lost") == []


def test_p2_a_task_of_several_leases_is_not_run_again_for_a_restarted_master(
    grid: Cluster, store: dict[str, str], held: Path
) -> None:
    """The executor reconnects only after the task's end; until then its supervisor reports the running task."""
    settings = {**store, "DISTQ_RECLAIM_S": "1s"}
    master = grid.master(**settings)
    grid.tasks(2)
    with grid.client() as client:
        future = _held_for_long(client, held)
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**settings)
        client.options(delay=3.0).submit(tasks.square, 2).result(20)  # the lease would have expired by now
        go(held)
        assert future.result(30) == "done"
    assert len(holders(held)) == 1
    assert again.events("task_lost") == []


def test_p9_a_master_killed_during_its_drain_loses_nothing(grid: Cluster, store: dict[str, str], held: Path) -> None:
    """The next master accepts the running task from its executor, has the waiting tasks, and nothing runs twice."""
    master = grid.master(**store)
    grid.tasks()
    with grid.client() as client:
        future = _held_for_long(client, held)
        others = [client.submit(tasks.square, n) for n in range(100)]
        assert client.flush(20)
        master.signal(signal.SIGTERM)
        master.logs("signal_received")
        master.signal(signal.SIGKILL)
        master.ends()
        grid.master(**store)
        go(held)
        assert future.result(30) == "done"
        assert [one.result(30) for one in others] == [n * n for n in range(100)]
    assert len(holders(held)) == 1


def test_a_dead_letters_causes_outlive_the_master(grid: Cluster, store: dict[str, str]) -> None:
    """`distq dead show` prints the same causes, attempts, arguments and traceback, and a retry runs the task again."""
    settings = {**store, "DISTQ_RETRY_BASE_S": "10ms"}
    master = grid.master(**settings)
    grid.tasks()
    with grid.client() as client:
        future = client.submit(tasks.raises, "again and again")
        with pytest.raises(ValueError, match="again and again"):
            future.result(30)
        ident = future.task_id
        assert ident is not None
    before = grid.json_of("dead", "show", ident, "--json")
    assert before["causes"] == ["ValueError: again and again"] * 4
    assert grid.json_of("dead", "list", "--json")["tasks"][0]["causes"] == before["causes"]
    master.signal(signal.SIGKILL)
    master.ends()
    grid.master(**settings)
    after = grid.json_of("dead", "show", ident, "--json")
    assert {**after, "deliveries": 0} == {**before, "deliveries": 0}
    assert grid.json_of("dead", "list", "--json")["tasks"][0]["causes"] == before["causes"]


def test_a_second_master_waits_for_the_store_and_takes_over(grid: Cluster, store: dict[str, str]) -> None:
    """The second master reports that it waits or stands by, and a signal ends it.

    After the first one is killed it has every task.
    """
    is_shared = store["DISTQ_STORE"].startswith("postgresql:")
    waiting, serving = ("master_stood_by", "leadership_began") if is_shared else ("store_awaited", "master_listened")
    first = grid.master(**store)
    elsewhere = {**store, "DISTQ_BIND": f"127.0.0.1:{free_port()}"}
    impatient = grid.run("master", **elsewhere)
    impatient.logs(waiting)
    impatient.signal(signal.SIGTERM)
    assert impatient.ends() == 0
    second = grid.run("master", **elsewhere)
    second.logs(waiting)
    with grid.client() as client:
        client.submit(tasks.square, 1)
        assert client.flush(20)
        client.abandon()
    first.signal(signal.SIGKILL)
    assert second.logs("tasks_loaded")[0]["tasks"] == 1
    second.logs(serving)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [("missing/queue.db", None, "does not exist"), ("queue.db", b"this is no database at all", "is not a database")],
)
def test_an_unusable_store_is_an_error_with_a_solution(
    grid: Cluster, tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    """The master exits with 4, names the file and the solution, and changes nothing."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    master = grid.run("master", DISTQ_STORE=f"sqlite:///{path}")
    assert master.ends() == 4
    assert sentence in master.text
    assert "Traceback" not in master.text
    assert content is None or path.read_bytes() == content
