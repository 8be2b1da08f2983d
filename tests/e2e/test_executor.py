"""Tests with real processes that a client is an executor: when exceptions arrive, and how a program ends."""

import logging
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go, running
from tests.e2e.test_client_processes import accepted, output_of, start
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

RETRIED_LATE = {"DISTQ_RETRY_BASE_S": "10m"}
"""A setting of the master with which the exception of a task that is retried does not arrive within a test."""


def fails(text: str) -> None:
    """Raise an exception with a cause, without the decorator."""
    try:
        int(text)
    except ValueError as error:
        raise LookupError(text) from error


def test_the_first_exception_of_a_function_without_the_decorator_is_its_outcome(grid: Cluster) -> None:
    """It has the traceback of the executor with its cause as text; a decorated function is retried."""
    grid.master(**RETRIED_LATE)
    grid.tasks()
    with grid.client() as client:
        with pytest.raises(LookupError, match="outright") as caught:
            client.submit(fails, "outright").result(20)
        remote = str(caught.value.__cause__)
        assert "ValueError: invalid literal" in remote
        assert "in fails" in remote
        with pytest.raises(LookupError, match="in a chunk"):
            list(client.map(fails, ["in a chunk"] * 2, chunksize=2, timeout=20))
        retried = client.submit(tasks.raises, "again")
        assert client.flush(20)
        eventually(lambda: grid.json_of("show", str(retried.task_id), "--json")["state"] == "delayed", "the retry")
        assert retried.cancel()


def test_futures_of_a_client_and_of_a_thread_pool_are_waited_for_together(grid: Cluster) -> None:
    """`as_completed` needs nothing of a future but what every future has."""
    grid.master()
    grid.tasks()
    with grid.client() as one, grid.client() as other, ThreadPoolExecutor(1) as threads:
        futures = [executor.submit(tasks.square, n) for n in range(10) for executor in (one, other, threads)]
        assert sorted(future.result() for future in as_completed(futures, 20)) == sorted([n * n for n in range(10)] * 3)


def test_an_executor_frees_what_a_task_got_and_returned(grid: Cluster) -> None:
    """Also without its garbage collector, before the next task begins; an exception and its traceback too."""
    grid.master()
    grid.tasks()
    with grid.client() as client:
        client.options(retries=0).submit(tasks.keep_weakly, tasks.Referable()).result(20)
        with pytest.raises(LookupError):
            client.submit(tasks.keep_weakly, tasks.Referable(), fails=True).result(20)
        list(client.map(tasks.keep_weakly, [tasks.Referable()] * 2, chunksize=2))
        assert client.submit(tasks.kept_alive).result(20) == 0


# -- the end of a program --------------------------------------------------------------------------

HOLDS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import distq
from tests.e2e import tasks

def again(future):
    client.submit(abs, -3).add_done_callback(lambda last: print(future.result(), last.result(), flush=True))

client = distq.Client()
client.submit(tasks.hold, sys.argv[0].replace("program.py", "held"), "done").add_done_callback(again)
client.flush(20)
print("at its end", flush=True)
"""


@contextmanager
def at_its_end(grid: Cluster, held: Path, before: str = "") -> "Iterator[subprocess.Popen[str]]":
    """Yield a program that has nothing left to do but to wait for its tasks."""
    with start(grid, held.parent, before + HOLDS) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "at its end\n"
            yield program
        finally:
            program.kill()


def test_the_end_of_a_program_waits_for_its_tasks_and_their_callbacks(grid: Cluster, held: Path) -> None:
    """The program keeps no future, and a callback submits another task."""
    grid.master()
    grid.tasks()
    with at_its_end(grid, held) as program:
        running(held)
        assert program.poll() is None
        go(held)
        assert output_of(program) == "done 3\n"


def test_the_end_of_a_program_waits_also_after_a_shutdown_without_wait(grid: Cluster, tmp_path: Path) -> None:
    """The results and callbacks of its tasks arrive; a submit in an exit handler is refused as after each shutdown."""
    grid.master()
    grid.tasks()
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import atexit
import distq
from tests.e2e import tasks

@atexit.register
def last():
    try:
        client.submit(tasks.square, 4)
    except RuntimeError as error:
        print(error, flush=True)

client = distq.Client()
client.submit(tasks.square, 3).add_done_callback(lambda future: print(future.result(), flush=True))
client.shutdown(wait=False)
"""
    with start(grid, tmp_path, program) as process:
        assert output_of(process) == "9\ncannot submit: this client was shut down\n"


def test_an_exit_handler_may_submit(grid: Cluster, tmp_path: Path) -> None:
    """The executors of the standard library refuse that; the master has the task when the program has ended."""
    grid.master()
    program = """
import atexit, math, os
import distq
client = distq.Client(wait_at_exit=False)
atexit.register(lambda: print(client.submit(math.sqrt, 4).task_id, flush=True))
client.submit(math.sqrt, 9)
"""
    with start(grid, tmp_path, program) as process:
        assert output_of(process).endswith("-2\n")
    assert accepted(grid) == 2


def test_ctrl_c_ends_the_wait_of_a_program_that_has_ended(grid: Cluster, held: Path) -> None:
    """A warning says why the program does not end; its tasks run nevertheless."""
    grid.master()
    with at_its_end(grid, held) as program:
        assert program.stderr is not None
        lines = iter(program.stderr.readline, "")
        assert any("waits for the outcomes of its tasks. Ctrl-C ends the wait" in line for line in lines)
        program.send_signal(signal.SIGINT)
        assert any("Ctrl-C has ended the wait" in line for line in lines)
        assert output_of(program) == ""
    assert accepted(grid) == 1


def test_a_program_does_not_wait_at_its_end_for_a_master_that_is_gone(grid: Cluster, held: Path) -> None:
    """It waits for DISTQ_CONNECT_WAIT_S."""
    master = grid.master()
    with at_its_end(grid, held, "import os; os.environ['DISTQ_CONNECT_WAIT_S'] = '500ms'") as program:
        master.signal(signal.SIGKILL)
        out, err = program.communicate(timeout=SOON_S)
    assert (program.returncode, out) == (0, "")
    assert "without the outcomes of its tasks, because no master answers" in err


# -- tasks that no worker runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({"queue": "nowhere"}, "square", "none serves the queue 'nowhere'"),
        ({}, "nothing", "none knows a task 'nothing'"),
    ],
)
def test_a_task_that_no_worker_runs_is_warned_about_once_in_the_words_of_distq_why(
    grid: Cluster, caplog: pytest.LogCaptureFixture, options: dict[str, Any], name: str, expected: str
) -> None:
    """The client does not repeat it for the other tasks of the same kind, nor while the program waits longer."""
    grid.master()
    worker = grid.tasks(1, "--queues", "default")
    worker.logs("executor_joined")
    with grid.client() as client, caplog.at_level(logging.WARNING, "distq"):
        futures = [client.options(**options).submit_named(name, [3]) for _ in range(3)]
        assert client.flush(20)
        eventually(lambda: "waits." in caplog.text, "the warning")
        client.options(**options).submit_named(name, [3])
        with pytest.raises(TimeoutError):
            futures[0].result(6)
        (warning,) = [record.getMessage() for record in caplog.records]
        assert expected in warning

        def is_why() -> bool:
            why = grid.run("why", str(futures[0].task_id))
            assert why.ends() == 0
            return warning == f"Task {futures[0].task_id} waits. {why.text.strip()}"

        eventually(is_why, "the same words")  # not while the master offers the name to the worker again
        client.abandon()
