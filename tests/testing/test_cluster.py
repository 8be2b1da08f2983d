"""Tests of `distq.testing.cluster`: tasks run in executors, and what is due happens as the test moves the clock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import ANY

import pytest
from tests.testing import jobs
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq
from distq import testing
from distq.testing.master_watch import MovableClock


@pytest.fixture(name="cluster")
def running_cluster() -> Iterator[testing.Cluster]:
    """A cluster with the tasks of `tests.testing.jobs`, one executor."""
    with testing.cluster(jobs, concurrency=1) as running:
        yield running


def executors_of(process: int) -> list[str]:
    """Return the process ids of the children of a process that are Pythons of distq."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(parent) == process and b"distq.worker.executor" in command:
                found.append(entry.name)
    return found


def test_a_task_runs_in_an_executor_and_its_future_is_done_after_drain(cluster: testing.Cluster) -> None:
    """`drain` returns when the results have arrived: the test waits for nothing else."""
    future = cluster.client.submit(jobs.process_id)
    others = [cluster.client.submit(jobs.add, number) for number in range(500)]
    cluster.drain()
    assert future.done()
    assert all(other.done() for other in others)
    assert future.result() != os.getpid()


def test_a_delay_passes_when_the_test_advances_the_clock(cluster: testing.Cluster) -> None:
    """A delayed task stays after `drain`, and runs neither before its instant nor after it."""
    future = cluster.client.options(delay="3h").submit(jobs.add, 1)
    cluster.drain()
    assert not future.done()
    cluster.advance(hours=2, minutes=59)
    assert not future.done()
    cluster.advance(minutes=1)
    assert future.result(0) == 1


def test_an_eta_is_reached_by_the_clusters_clock(cluster: testing.Cluster) -> None:
    """A date that is far away for the machine comes by `advance`."""
    at = datetime.fromtimestamp(cluster.now + 86_400, UTC)
    future = cluster.client.options(eta=at).submit(jobs.add, 2)
    cluster.advance(days=1, seconds=1)
    assert future.result(0) == 2
    assert cluster.now > at.timestamp()


def test_retries_happen_without_their_pauses(cluster: testing.Cluster, tmp_path: Path) -> None:
    """The first attempt runs in `drain`; the pauses before the others are time that the test advances."""
    future = cluster.client.submit(jobs.succeed_at_third, tmp_path / "attempts")
    retried = cluster.client.submit(jobs.ask_for_retry, tmp_path / "asked")
    cluster.drain()
    assert not future.done()
    cluster.advance(minutes=30)
    assert future.result(0) == 3
    assert not retried.done()
    cluster.advance(minutes=31)
    assert retried.result(0) == 2


def test_each_scheduled_run_of_the_time_that_passes_runs(cluster: testing.Cluster) -> None:
    """A cron line and an interval that the code declares have all their runs, not one for all of them."""
    cluster.client.options(cron="0 * * * *").schedule("report", jobs.add, 5, 6)
    cluster.advance(days=1)
    assert len(cluster.submitted(jobs.add)) == 24
    assert len(cluster.submitted(jobs.hourly)) == 24


def test_a_scheduled_run_is_skipped_while_its_last_task_runs(cluster: testing.Cluster, tmp_path: Path) -> None:
    """Without `wait` the clock moves on although a task runs, as it does in production."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cluster.client.options(every="1h").schedule("slow", jobs.wait_for_end_of, pipe)
    cluster.advance(hours=5, wait=False)
    assert len(cluster.submitted(jobs.wait_for_end_of)) == 1
    pipe.open("w").close()
    cluster.drain()


def test_a_task_expires_while_no_executor_takes_it(cluster: testing.Cluster) -> None:
    """Inside `hold` tasks wait; those whose time is over have expired."""
    with cluster.hold():
        late = cluster.client.options(expires=60).submit(jobs.add, 1)
        patient = cluster.client.options(expires=3600).submit(jobs.add, 2)
        cluster.advance(minutes=2)
        assert not patient.done()
    cluster.drain()
    assert isinstance(late.exception(0), distq.TaskExpired)
    assert patient.result(0) == 2


def test_a_result_is_gone_after_its_ttl(cluster: testing.Cluster) -> None:
    """The master forgets a result when its time is over by the cluster's clock."""
    task_id = cluster.client.options(result_ttl="10m").submit(jobs.add, 1).task_id
    cluster.drain()
    (task,) = cluster.submitted(jobs.add)
    assert task_id in (None, task.task_id)
    assert cluster.client.result(task.task_id) == 1
    cluster.advance(minutes=11)
    with pytest.raises(distq.TaskUnknown):
        cluster.client.result(task.task_id)


def test_a_unique_key_is_free_after_its_time(cluster: testing.Cluster) -> None:
    """`unique_for` follows the cluster's clock."""
    once = cluster.client.options(unique_key="one", unique_for="1h")
    once.submit(jobs.add, 1)
    cluster.drain()
    assert isinstance(once.submit(jobs.add, 2).exception(60), distq.TaskExists)
    cluster.advance(hours=1, seconds=1)
    assert once.submit(jobs.add, 3).result(60) == 3


def test_a_rate_allows_more_tasks_as_time_passes() -> None:
    """Tasks beyond a queue's rate stay after `drain`, and run when the window has passed."""
    with testing.cluster(jobs, concurrency=1, settings={"DISTQ_QUEUE_LIMITS": "slow: rate=2/1h"}) as cluster:
        futures = [cluster.client.options(queue="slow").submit(jobs.add, number) for number in range(4)]
        cluster.drain()
        assert sum(future.done() for future in futures) == 2
        cluster.advance(hours=2)
        assert all(future.done() for future in futures)


def test_a_lease_holds_while_the_worker_sends_heartbeats_and_ends_without(tmp_path: Path) -> None:
    """A running task outlasts hours; with `heartbeats=False` another executor gets it as after a lost worker."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with testing.cluster(jobs, concurrency=2) as cluster:
        future = cluster.client.submit(jobs.wait_for_end_of, pipe)
        eventually(future.running, "the task runs")
        cluster.advance(hours=5, wait=False)
        assert future.running()
        cluster.advance(seconds=15, heartbeats=False)
        pipe.open("w").close()
        assert future.result(60) == 1

        cluster.drain()
        future = cluster.client.submit(jobs.wait_for_end_of, pipe)
        eventually(future.running, "the task runs")
        cluster.advance(seconds=40, heartbeats=False)
        pipe.open("w").close()
        eventually(future.done, "an attempt has ended")
        (task,) = cluster.submitted(jobs.wait_for_end_of)[1:]
        assert cluster.client._administer("show", {"id": task.task_id})["lost"] == 1


def test_a_year_without_work_is_one_step(cluster: testing.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats renew the leases meanwhile: their lengths, of which a year has a million, are no instants to stop at.

    A year needed more than the default timeout.
    """
    cluster.client._administer("schedule_remove", {"name": "hourly"})
    moved: list[float] = []
    move = MovableClock.move

    def counted(clock: MovableClock, by_s: float) -> None:
        moved.append(by_s)
        move(clock, by_s)

    monkeypatch.setattr(MovableClock, "move", counted)
    before = cluster.now
    cluster.advance(days=365)
    assert cluster.now - before >= 365 * 86_400
    assert len(moved) < 100


def test_the_workers_are_back_after_an_advance_without_heartbeats(cluster: testing.Cluster) -> None:
    """A task that is submitted then runs; the workers returned at their next heartbeat, ten seconds later."""
    cluster.advance(seconds=40, heartbeats=False)
    assert cluster._host.watch.is_connected
    future = cluster.client.submit(jobs.add, 1, b=2)
    cluster.drain()
    assert future.result(0) == 3


def test_the_tasks_of_every_client_and_of_tasks_are_seen(cluster: testing.Cluster) -> None:
    """The tested code's own client reads the environment; a task submits others, which `drain` waits for."""
    with distq.Client() as own:
        own.submit(jobs.album, ["a", "b"])
        cluster.drain()
        assert [task.args for task in cluster.submitted(jobs.resize)] == [("a",), ("b",)]
    assert str(cluster.submitted()[0]) == "tests.testing.jobs:album(['a', 'b'])"


def test_assert_submitted_finds_a_call_however_its_arguments_were_given(cluster: testing.Cluster) -> None:
    """Names, defaults and `ANY` make no difference; the newest task of equal calls is returned."""
    cluster.client.options(queue="sums", priority=7, delay=60).submit(jobs.add, 1)
    cluster.client.submit(jobs.add, 1)
    list(cluster.client.map(jobs.add, [10, 11], chunksize=2))
    cluster.client.submit_named("fails", ["why"])
    for task in (
        cluster.assert_submitted(jobs.add, 1),
        cluster.assert_submitted(jobs.add, a=1, b=0),
        cluster.assert_submitted(jobs.add, 1, b=ANY),
    ):
        assert (task.queue, task.priority, task.due_at) == ("default", 5, None)
    first = cluster.submitted(jobs.add)[0]
    assert (first.queue, first.priority) == ("sums", 7)
    assert first.due_at == pytest.approx(first.submitted_at + 60)
    cluster.assert_submitted(jobs.add, 11)
    cluster.assert_submitted(jobs.fail, "why")
    cluster.drain()


def test_the_result_of_a_dependency_is_an_argument_that_equals_any(cluster: testing.Cluster) -> None:
    """The stages of a chain are submitted together, before the results that they get are known."""
    future = cluster.client.chain(distq.call(jobs.add, 1), distq.call(jobs.add, b=5))
    task = cluster.assert_submitted(jobs.add, ANY, 5)
    assert str(task) == "tests.testing.jobs:add(<result of its dependency>, b=5)"
    with pytest.raises(testing.NotSubmitted):
        cluster.assert_submitted(jobs.add, 1, 5)
    cluster.drain()
    assert future.result(0) == 6


def test_assert_submitted_says_what_was_submitted_instead(cluster: testing.Cluster) -> None:
    """The text of the failed assertion lists the calls of the function, else all."""
    with pytest.raises(testing.NotSubmitted, match=r"jobs:add\(1\) was not submitted. No task was submitted."):
        cluster.assert_submitted(jobs.add, 1)
    cluster.client.submit(jobs.resize, "x")
    with pytest.raises(AssertionError, match=r"(?s)tasks of other functions:\n  tests.testing.jobs:resize\('x'\)"):
        cluster.assert_submitted(jobs.add, 1)
    cluster.client.submit(jobs.add, 2)
    with pytest.raises(AssertionError, match=r"(?s)tasks of this function:\n  tests.testing.jobs:add\(2\)$"):
        cluster.assert_submitted(jobs.add, 1)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        cluster.assert_submitted(jobs.add)  # type: ignore[call-arg]
    with pytest.raises(distq.NotATask, match="lambda"):
        cluster.assert_submitted(lambda: None)


def test_the_environment_is_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the developer are away inside the block, and come back; two clusters may be nested."""
    monkeypatch.setenv("DISTQ_ADDRESS", "example.com:9000")
    monkeypatch.setenv("DISTQ_RETRIES", "nonsense")
    with testing.cluster(concurrency=1) as outer:
        with testing.cluster(concurrency=1) as inner:
            assert os.environ["DISTQ_ADDRESS"] == inner.address != outer.address
            futures = [cluster.client.submit(jobs.add, 1) for cluster in (outer, inner)]
            assert [future.result(60) for future in futures] == [1, 1]
            assert len(outer.submitted()) == len(inner.submitted()) == 1
            assert futures[0].task_id != futures[1].task_id
        assert (os.environ["DISTQ_ADDRESS"], os.environ["DISTQ_AUTHKEY"]) == (outer.address, outer.authkey)
        assert "DISTQ_RETRIES" not in os.environ
    assert os.environ["DISTQ_ADDRESS"] == "example.com:9000"
    assert os.environ["DISTQ_RETRIES"] == "nonsense"
    assert "DISTQ_AUTHKEY" not in os.environ


def test_a_module_that_executors_cannot_import_is_an_error_at_the_start() -> None:
    """The error names the module and says what to do; no thread and no process stays."""
    with pytest.raises(testing.ClusterNotStarted, match="no_such_module") as raised, testing.cluster("no_such_module"):
        pass
    assert "pythonpath" in raised.value.hint
    assert executors_of(os.getpid()) == []


def test_a_function_that_executors_cannot_import_is_an_error_at_the_start() -> None:
    """A lambda has no name to import; a number is no task."""
    with pytest.raises(distq.NotATask, match="lambda"), testing.cluster([jobs.add, lambda: None]):
        pass
    with pytest.raises(TypeError, match="tasks takes modules, names of modules, and functions, not 5"):
        testing.cluster([5]).__enter__()  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("DISTQ_STORE", "sqlite:///x", "has its own DISTQ_STORE"),
        ("DISTQ_RETRYS", "1", "DISTQ_RETRYS"),
        ("DISTQ_RETRIES", "many", "DISTQ_RETRIES is"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: str, text: str) -> None:
    """A setting of the cluster's own, an unknown one and an invalid one raise before anything starts."""
    with pytest.raises(distq.SettingsError, match=text), testing.cluster(settings={name: value}):
        pass


def test_drain_names_tasks_that_no_executor_can_run(cluster: testing.Cluster) -> None:
    """A name that no module of the cluster has registered is an error with the sentence of `distq why`."""
    cluster.client.submit_named("nowhere", [])
    with pytest.raises(testing.TasksUnfinished, match=r"Task [\w-]+, nowhere: Of 1 worker .* none knows"):
        cluster.drain()


def test_drain_names_tasks_that_still_run_at_its_timeout(cluster: testing.Cluster, tmp_path: Path) -> None:
    """A task that hangs is an error after the timeout, not a test that hangs."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    future = cluster.client.submit(jobs.wait_for_end_of, pipe)
    eventually(future.running, "the task runs")
    with pytest.raises(testing.TasksUnfinished, match=r"not ended in time.*wait_for_end_of: It runs"):
        cluster.drain(timeout=0.2)
    with pytest.raises(testing.TasksUnfinished, match="not ended in time"):
        cluster.advance(hours=1, timeout=0.2)
    pipe.open("w").close()
    cluster.drain()
    assert future.done()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_the_clock_moves_forward_only(cluster: testing.Cluster, seconds: float) -> None:
    """A time that is not above 0 s is refused with the value."""
    with pytest.raises(ValueError, match=f"by more than 0 s, not by {seconds:g} s"):
        cluster.advance(seconds=seconds)


def test_a_cluster_that_has_ended_says_so(cluster: testing.Cluster) -> None:
    """Its methods raise, and its clients are closed with it."""
    with testing.cluster(concurrency=1) as ended:
        client = distq.Client()
    with pytest.raises(testing.ClusterEnded, match="has ended"):
        ended.drain()
    with pytest.raises(testing.ClusterEnded, match="has ended"):
        ended.advance(hours=1)
    with pytest.raises(RuntimeError, match="this client was shut down"):
        client.submit(jobs.add, 1)
    cluster.drain()


def test_a_clock_that_a_test_freezes_does_not_stop_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master's clock does not call the functions that freezing tools replace."""
    monkeypatch.setattr(time, "time", lambda: 1e9)
    with testing.cluster(jobs, concurrency=1) as cluster:
        future = cluster.client.options(delay=0.01).submit(jobs.add, 1)
        assert future.result(60) == 1
        assert cluster.now > 1.5e9


def test_a_failed_test_leaves_no_process(tmp_path: Path) -> None:
    """An exception in the block ends executors, also one whose task hangs."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def failing_test() -> None:
        with testing.cluster(jobs, concurrency=2) as cluster:
            future = cluster.client.submit(jobs.wait_for_end_of, pipe)
            eventually(future.running, "the task runs")
            assert len(executors_of(os.getpid())) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_test()
    assert executors_of(os.getpid()) == []


PROGRAM = """
import sys, os
from distq import testing
from tests.testing import jobs
with testing.cluster(jobs, concurrency=1) as cluster:
    pid = cluster.client.submit(jobs.process_id).result(30)
    print(pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, -15)])
def test_a_killed_test_leaves_no_process(number: signal.Signals, code: int) -> None:
    """Ctrl-C unwinds the block; after SIGKILL and SIGTERM the kernel ends the executors."""
    program = [sys.executable, "-W", "error", "-c", PROGRAM]
    with subprocess.Popen(
        program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        executor = process.stdout.readline().strip()
        assert executors_of(process.pid) == [executor]
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in (code, -number), errors
    eventually(lambda: not Path(f"/proc/{executor}").exists(), "the executor has ended")
    assert ("KeyboardInterrupt" in errors) is (number == signal.SIGINT)


FORKING = """
import os, sys
from distq import testing
from tests.testing import jobs
with testing.cluster(jobs, concurrency=1) as cluster:
    child = os.fork()
    if child == 0:
        try:
            cluster.drain()
        except testing.ClusterEnded as error:
            print(error, flush=True)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert cluster.client.submit(jobs.add, 1).result(30) == 1
"""


def test_a_forked_child_leaves_the_cluster_to_its_parent() -> None:
    """The child's calls raise, the end of its block ends nothing, and the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "This cluster has ended, or another process has started it.\n"
