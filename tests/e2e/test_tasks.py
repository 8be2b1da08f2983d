"""Tests of structured tasks with real processes: names, failures, limits, recycling, versions."""

import signal
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go, holders, running
from tests.waiting import eventually

import distq


def test_functions_run_by_registered_name_and_by_import_path(grid: Cluster) -> None:
    """Coroutine functions run too, and so do many tasks in one call."""
    grid.master()
    grid.tasks(2)
    with grid.client() as client:
        assert client.submit(tasks.square, 7).result(20) == 49
        assert client.submit(tasks.later, 3).result(20) == 3
        assert list(client.map(tasks.square, range(500), chunksize=7)) == [n * n for n in range(500)]


def test_an_exception_arrives_with_the_remote_traceback(grid: Cluster) -> None:
    """A task with the option to fail without a retry is not retried."""
    grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        with pytest.raises(ZeroDivisionError) as caught:
            client.submit(tasks.divide, 1, 0).result(20)
        assert "return over / under" in str(caught.value.__cause__)
        with pytest.raises(KeyError):
            client.submit(tasks.misses).result(20)
    assert [event["attempt"] for event in worker.logs("task_failed", times=2)] == [1, 1]


def test_a_task_gets_an_exception_at_its_time_limit(grid: Cluster) -> None:
    """The task gets an exception, which its client gets too; the executor lives on."""
    grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        with pytest.raises(distq.TimeLimitExceeded, match=r"exceeded time limit 0\.3 s") as caught:
            client.submit(tasks.sleeps).result(20)
        assert "time.sleep(60)" in str(caught.value.__cause__)
        assert client.submit(tasks.square, 2).result(20) == 4
    assert worker.events("executor_died") == []


@pytest.mark.parametrize("how", ["swallows it", "holds the GIL"])
def test_a_task_that_ignores_its_time_limit_is_killed_and_its_stack_reported(
    grid: Cluster, held: Path, how: str
) -> None:
    """The kill comes two seconds later and counts as a failed attempt; the stack shows the code, also in C."""
    master = grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        future = client.submit(tasks.stubborn) if how == "swallows it" else client.submit(tasks.count_in_c, str(held))
        with pytest.raises(distq.TimeLimitExceeded, match=r"exceeded time limit 0\.3 s") as caught:
            future.result(20)
        assert ("stubborn" if how == "swallows it" else "count_in_c") in str(caught.value.__cause__)
        assert client.submit(tasks.square, 2).result(20) == 4
    assert worker.events("executor_died")[0]["cause"] == "exceeded time limit 0.3 s"
    assert master.events("task_lost") == []
    assert master.events("task_buried")[0]["failures"] == 1


def test_the_masters_time_limit_applies_to_tasks_without_one(grid: Cluster) -> None:
    """The test sets DISTQ_TIME_LIMIT."""
    grid.master(DISTQ_TIME_LIMIT="200ms", DISTQ_RETRIES="0")
    grid.tasks()
    with grid.client() as client, pytest.raises(distq.TimeLimitExceeded, match=r"0\.2 s"):
        client.submit(tasks.doze, 60).result(20)


@pytest.mark.parametrize("gil", [False, True])
def test_no_task_waits_behind_a_task_that_turns_out_long(grid: Cluster, held: Path, gil: bool) -> None:
    """Tasks of the same lease go to other workers, also when the task holds the GIL; finished tasks are settled."""
    grid.master()
    worker = grid.tasks()
    with grid.client() as client:
        for future in [client.submit(tasks.square, n) for n in range(2000)]:
            future.result(20)
        first = [client.submit(tasks.square, n) for n in range(100)]
        long = client.submit(tasks.hold_gil, str(held), 4.0) if gil else client.submit(tasks.hold, str(held), "done")
        behind = [client.submit(tasks.square, n) for n in range(100)]
        running(held)
        grid.tasks()
        others = behind if gil else first + behind  # results of an executor that holds the GIL can only wait
        assert [future.result(20) for future in others] == [n * n for n in range(100)] * (len(others) // 100)
        assert not long.done()
        go(held)
        assert long.result(20) == "done"
        assert len(holders(held)) == 1
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_an_executor_is_replaced_after_its_number_of_tasks(grid: Cluster) -> None:
    """No task is lost, and the log reports no failure."""
    master = grid.master()
    worker = grid.tasks(1, "--max-tasks", "10")
    with grid.client() as client:
        pids = list(client.map(tasks.pid, range(100)))
    assert {pids.count(pid) for pid in pids} == {10}
    worker.logs("executor_recycled", times=10)
    assert worker.events("executor_died") == []
    assert master.events("task_lost") == []


def test_a_worker_of_some_queues_leaves_the_others_alone(grid: Cluster) -> None:
    """The worker serves only the queues in `--queues`."""
    grid.master()
    grid.tasks(1, "--queues", "mail,default")
    with grid.client() as client:
        elsewhere = client.options(queue="elsewhere").submit(tasks.square, 3)
        assert client.submit(tasks.doze, 0.0).result(20) == 0.0
        assert not elsewhere.done()
        grid.tasks(1, "--queues", "elsewhere")
        assert elsewhere.result(20) == 9


def test_two_versions_of_the_code_together_cost_no_attempt(grid: Cluster, tmp_path: Path) -> None:
    """The worker without the task returns it, and does not get it again."""
    for version, source in (
        ("old", ""),
        ("new", "import distq\n@distq.task(name='fresh')\ndef fresh(): return 'new'\n"),
    ):
        (tmp_path / version).mkdir()
        (tmp_path / version / "versions.py").write_text(source)

    def fresh() -> str:
        raise NotImplementedError

    master = grid.master()
    old = grid.run("worker", "versions", "--concurrency", "2", PYTHONPATH=str(tmp_path / "old"))
    with grid.client() as client:
        task = distq.task(name="fresh", retries=0, max_deliveries=1)(fresh)
        futures = [client.submit(task) for _ in range(20)]
        (reason,) = {event["reason"] for event in old.logs("executor_troubled")}
        assert reason.startswith("This worker cannot run fresh and hands it back")
        grid.run("worker", "versions", "--concurrency", "1", PYTHONPATH=str(tmp_path / "new"))
        assert {future.result(20) for future in futures} == {"new"}
    assert master.events("task_buried") == []


def test_a_worker_that_takes_json_only_runs_nothing_else(grid: Cluster) -> None:
    """A pickle is a failure without a retry, and the worker loads no part of it."""
    grid.master()
    grid.tasks(1, DISTQ_ACCEPT="json")
    with grid.client() as client, pytest.raises(distq.DistqError, match="accepts only JSON"):
        client.submit(tasks.square, 2).result(20)


def test_a_module_that_cannot_be_imported_ends_the_worker_with_2(grid: Cluster) -> None:
    """The worker does not need a master for that."""
    worker = grid.run("worker", "tests.e2e.no_such_module")
    assert worker.ends() == 2
    reason = worker.logs("command_failed", code=2)[0]["reason"]
    assert "The module tests.e2e.no_such_module cannot be imported: ModuleNotFoundError" in reason


def test_a_failing_lifespan_hook_ends_the_worker_with_2(grid: Cluster, tmp_path: Path) -> None:
    """The worker ends at its start, as with a module that cannot be imported."""
    source = "import distq\n@distq.lifespan\ndef model():\n    raise OSError('no such model')\n    yield\n"
    (tmp_path / "unprepared.py").write_text(source)
    worker = grid.run("worker", "unprepared", PYTHONPATH=str(tmp_path))
    assert worker.ends() == 2
    reason = worker.logs("command_failed", code=2)[0]["reason"]
    assert "The lifespan hook unprepared:model has failed: OSError: no such model." in reason


def test_only_executors_import_modules(grid: Cluster, tmp_path: Path) -> None:
    """User code cannot delay the supervisor's heartbeats."""
    (tmp_path / "notes_itself.py").write_text(
        f"import os, pathlib\n(pathlib.Path({str(tmp_path)!r}) / f'{{os.getpid()}}.pid').touch()\n"
    )
    worker = grid.run("worker", "notes_itself", "--concurrency", "2", PYTHONPATH=str(tmp_path))
    eventually(lambda: len(list(tmp_path.glob("*.pid"))) == 2, "two imports")
    assert {int(file.stem) for file in tmp_path.glob("*.pid")} == set(worker.children())
    go(tmp_path)


def test_a_backlog_of_large_payloads_and_results_is_completed(grid: Cluster) -> None:
    """Together they exceed the limit of a frame; a client that connects later also gets all results."""
    grid.master()
    large = 3_000_000
    with grid.client() as client:
        backlog = [client.submit(len, bytes(large)) for _ in range(60)]
        results = [client.submit(bytes, large) for _ in range(10)]
        try:
            assert client.flush(60)
            grid.tasks()
            assert [future.result(30) for future in backlog] == [large] * 60
            with grid.client() as other:
                found = [other.future(str(future.task_id)) for future in results]
                assert [len(future.result(30)) for future in found] == [large] * 10
        finally:
            client.abandon()
