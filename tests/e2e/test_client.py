"""Tests of clients and operators' commands with real processes: README, futures, faults, dead letters, `distq up`."""

import asyncio
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import KEY, Cluster, Process, descendants, fork, lives
from tests.ports import free_port
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq
from distq.client.future import TaskFuture


def command(grid: Cluster, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a distq command against the cluster."""
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
    environ["DISTQ_CONNECT_WAIT_S"] = "1s"
    return subprocess.run(
        [sys.executable, "-m", "distq", *arguments],
        env=environ,
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_readmes_programs_work_without_a_change(grid: Cluster, tmp_path: Path) -> None:
    """`tasks.py` and `program.py` from the README work."""
    text = (ROOT / "README.md").read_text()
    for name in ("tasks.py", "program.py"):
        block = next(block for block in text.split("```python\n")[1:] if block.startswith(f"# {name}\n"))
        (tmp_path / name).write_text(block.split("```")[0])
    grid.master()
    grid.run("worker", "tasks", "--concurrency", "1", PYTHONPATH=str(tmp_path))
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n999000\n", "")


def test_the_standard_library_awaits_futures(grid: Cluster) -> None:
    """as_completed, asyncio and `map` with chunks work, and a task's exception has its remote traceback."""
    grid.master()
    grid.tasks(2)

    async def gather(futures: list[TaskFuture[int]]) -> list[int]:
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    with grid.client() as client:
        futures = [client.submit(tasks.square, n) for n in range(200)]
        assert sorted(future.result() for future in as_completed(futures, 20)) == [n * n for n in range(200)]
        assert asyncio.run(gather([client.submit(tasks.square, n) for n in range(50)])) == [n * n for n in range(50)]
        assert sum(client.map(tasks.square, range(1000), chunksize=100)) == sum(n * n for n in range(1000))
        with pytest.raises(ZeroDivisionError) as caught:
            client.submit(tasks.divide, 1, 0).result(20)
        assert "in divide" in str(caught.value.__cause__)


def test_a_forked_client_has_a_new_session(grid: Cluster) -> None:
    """The child gets a new session, and the parent keeps its own."""
    grid.master()
    grid.tasks()
    with grid.client() as client:
        assert client.submit(tasks.square, 2).result(20) == 4
        child = fork()
        if not child:
            code = 1
            try:
                code = 0 if client.submit(tasks.square, 3).result(20) == 9 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.submit(tasks.square, 4).result(20) == 16


def test_submits_are_accepted_when_the_program_ends(grid: Cluster) -> None:
    """The program uses no `with` statement and does not wait."""
    grid.master()
    program = """
        import distq
        from tests.e2e import tasks
        client = distq.Client(wait_at_exit=False)
        for n in range(3000):
            client.submit(tasks.square, n)
    """
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environ, cwd=ROOT, check=True, timeout=30)
    status = json.loads(command(grid, "status", "--json").stdout)
    assert sum(queue["ready"] for queue in status["queues"]["queues"]) == 3000


def test_a_client_killed_in_mid_submit_leaves_whole_tasks(grid: Cluster) -> None:
    """The accepted tasks run, and the master serves other clients."""
    master = grid.master()
    program = """
        import distq
        from tests.e2e import tasks
        client = distq.Client()
        n = 0
        while True:
            client.submit(tasks.square, n)
            n += 1
            if n == 20000:
                print("under way", flush=True)
    """
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env=environ, cwd=ROOT, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    grid.tasks(2)

    def drained() -> bool:
        status = json.loads(command(grid, "status", "--json").stdout)
        return all(not queue["ready"] + queue["leased"] for queue in status["queues"]["queues"])

    with grid.client() as client:
        assert client.submit(tasks.square, 5).result(20) == 25
    eventually(drained, "all tasks done")
    assert master.events("task_buried") == []


def test_a_master_restarted_under_load_leaves_no_client_waiting(grid: Cluster) -> None:
    """Every future gets a result or is lost; the same client and worker continue with the new master."""
    master = grid.master()
    grid.tasks(2)
    with grid.client() as client:
        futures: list[TaskFuture[Any]] = [client.submit(tasks.square, n) for n in range(5000)]
        client.flush()
        slow: list[TaskFuture[Any]] = [client.submit(tasks.doze, 0.05) for _ in range(200)]
        futures[0].result(20)
        master.signal(signal.SIGKILL)
        master.ends()
        grid.master()
        ends = [future.exception(20) for future in [*futures, *slow]]
        assert {type(end) for end in ends} <= {type(None), distq.TaskLost}
        assert any(isinstance(end, distq.TaskLost) for end in ends)
        assert list(client.map(tasks.square, range(100))) == [n * n for n in range(100)]


def test_a_shell_command_submits_a_task(grid: Cluster) -> None:
    """The command prints the result as JSON.

    It exits with 1 for a failed task, 2 for invalid JSON, 3 without a master.
    """
    assert command(grid, "submit", "square", "7").returncode == 3
    grid.master()
    grid.tasks()
    done = command(grid, "submit", "square", "7", "--wait")
    assert (done.returncode, done.stdout) == (0, "49\n")
    complete = json.loads(command(grid, "submit", "square", "-7", "--wait", "--json").stdout)
    assert (complete["state"], complete["result"]) == ("succeeded", 49)
    failed = command(grid, "submit", "tests.e2e.tasks:divide", "1", "0", "--wait")
    assert failed.returncode == 1
    assert "return over / under" in failed.stderr
    assert "ZeroDivisionError: division by zero" in failed.stderr
    late = command(grid, "submit", "tests.e2e.tasks:doze", "60", "--wait", "--timeout", "100ms")
    assert late.returncode == 1
    assert re.search(r"has not ended within 0.1 s; it continues. `distq why \S+` says what it waits for.", late.stderr)
    assert "is not JSON" in command(grid, "submit", "square", "joe").stderr
    assert command(grid, "submit", "square", "joe").returncode == 2
    assert command(grid, "submit", "square", "2", "--queue", "elsewhere").stdout.strip().count("-") == 1


def test_commands_list_retry_and_purge_dead_letters(grid: Cluster) -> None:
    """The commands show arguments without running them, the traceback and the causes."""
    grid.master()
    grid.tasks()
    assert command(grid, "dead", "list").stdout == "There are no dead letters.\n"
    with grid.client() as client:
        assert client.submit(tasks.divide, 1, under=0).exception(20)
        assert client.submit(tasks.poison).exception(20)
    listed = json.loads(command(grid, "dead", "list", "--json").stdout)
    poison, divide = listed["tasks"]
    shown = command(grid, "dead", "show", divide["id"]).stdout
    for text in (
        "divide(1, under=0)",
        "ZeroDivisionError: division by zero",
        "return over / under",
        "1 failed, 0 lost",
    ):
        assert text in shown
    assert command(grid, "dead", "show", poison["id"]).stdout.count("killed by SIGKILL") == 3
    assert "poison" in command(grid, "dead", "list", "--name", poison["name"]).stdout
    by_error = command(grid, "dead", "list", "--error", "ZeroDivisionError", "--since", "1h").stdout
    assert divide["id"] in by_error
    assert poison["id"] not in by_error
    counted = command(grid, "dead", "purge", "--error", "lost", "--dry-run").stdout
    assert counted.endswith(f"{poison['name']}  lost\n1 dead letter in total; nothing was changed.\n")
    assert "neither a duration ago" in command(grid, "dead", "list", "--until", "soon").stderr
    assert command(grid, "dead", "retry", divide["id"]).stdout == "1 will be retried.\n"
    eventually(lambda: divide["id"] in command(grid, "dead", "list").stdout, "its second death")
    refused = command(grid, "dead", "retry", "1-1")
    assert (refused.returncode, "no dead letters: 1-1" in refused.stderr) == (1, True)
    assert command(grid, "dead", "purge").returncode == 2
    assert command(grid, "dead", "purge", "--all", given="n\n").returncode == 130
    for arguments in (("dead", "purge", "1-1"), ("dead", "purge", "--queue", "nope"), ("cancel", "--queue", "nope")):
        missing = command(grid, *arguments, given="")
        assert (missing.returncode, missing.stdout) == (1, ""), "it looks before it asks"
        assert "no dead letters: 1-1" in missing.stderr or "there is no queue 'nope'" in missing.stderr.lower()
    for words in ("list", "dead list", "dead retry", "purge", "pause"):
        missing = command(grid, *words.split(), "--queue", "nope")
        assert (missing.returncode, missing.stdout) == (1, "")
        assert missing.stderr.startswith("distq: There is no queue 'nope'")
    assert command(grid, "dead", "purge", "--name", "nope").stdout == "0 deleted.\n"
    assert command(grid, "dead", "purge", "--all", "--yes").stdout == "2 deleted.\n"
    assert json.loads(command(grid, "dead", "list", "--json").stdout)["total"] == 0


def up(grid: Cluster, folder: Path, *arguments: str, **environ: str) -> Process:
    """Run `distq up` in a folder with a module `shop` whose `price` returns 1."""
    (folder / "shop.py").write_text("def price():\n    return 1\n")
    (folder / "start.py").write_text(
        f"import os, runpy, sys\nos.chdir({str(folder)!r})\nrunpy.run_module('distq', run_name='__main__')\n"
    )
    launcher = [str(folder / "start.py")]
    settings = {"PYTHONPATH": str(folder), "DISTQ_LOG_LEVEL": "info", "DISTQ_LOG_FORMAT": "console", **environ}
    return grid.run("up", "shop", "--concurrency", "1", *arguments, launcher=launcher, **settings)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_distq_up_runs_a_whole_cluster_and_leaves_no_process(grid: Cluster, tmp_path: Path, number: int) -> None:
    """`distq up` prints prefixed lines and the exports that a client needs, and ends in order."""
    process = up(grid, tmp_path, "--workers", "2")
    eventually(lambda: process.text.count("master_connected") == 2, "workers", lambda: process.text)
    assert f"export DISTQ_ADDRESS=127.0.0.1:{grid.port}" in process.text
    with grid.client() as client:
        assert client.submit_named("shop:price").result(20) == 1
    pids = descendants(process.popen.pid)
    assert len(pids) >= 4
    process.signal(number)
    assert process.ends() == 0, process.text
    assert [pid for pid in pids if lives(pid)] == []
    assert "master   | " in process.text
    assert "worker-2 | " in process.text
    assert "worker_stopped" in process.text


def test_distq_up_restarts_its_workers_when_a_file_changes(grid: Cluster, tmp_path: Path) -> None:
    """The new code runs the next task, and no task is lost."""
    process = up(grid, tmp_path, "--reload")
    with grid.client() as client:
        eventually(lambda: "master_connected" in process.text, "a worker", lambda: process.text)
        assert client.submit_named("shop:price").result(20) == 1
        (tmp_path / "shop.py").write_text("def price():\n    return 1000\n")
        eventually(lambda: "shop.py has changed" in process.text, "the change", lambda: process.text)
        eventually(lambda: client.submit_named("shop:price").result(20) == 1000, "the new code")
    process.signal(signal.SIGTERM)
    assert process.ends() == 0, process.text


@pytest.mark.parametrize("mistake", ["def price(:\n", "import not_there\n", "raise SystemExit(3)\n", None])
def test_a_saved_mistake_ends_no_cluster_that_reloads(grid: Cluster, tmp_path: Path, mistake: str | None) -> None:
    """`distq up` reports the error, ready tasks wait, and the next save is tried; editors replace whole files."""
    process = up(grid, tmp_path, "--reload")
    with grid.client() as client:
        assert client.submit_named("shop:price").result(20) == 1
        path = tmp_path / "shop.py"
        (tmp_path / ".#shop.py").symlink_to("an editor's lock that leads nowhere")
        if mistake is None:
            path.unlink()
        else:
            path.write_text(mistake)
        eventually(lambda: "it restarts when a file changes" in process.text, "its end", lambda: process.text)
        assert "cannot be imported" in process.text
        waiting = client.submit_named("shop:price")
        (tmp_path / "mended").write_text("def price():\n    return 1000\n")
        (tmp_path / "mended").rename(path)
        assert waiting.result(20) == 1000
    process.signal(signal.SIGTERM)
    assert process.ends() == 0, process.text


def test_distq_up_ends_with_its_first_process_that_ends(grid: Cluster, tmp_path: Path) -> None:
    """If one process ends, for example because its store cannot be opened, all end, and a sentence names it."""
    process = up(grid, tmp_path, DISTQ_STORE=f"sqlite:///{tmp_path}/no-such-folder/queue.db")
    assert process.ends() == 1
    assert "The master ended with exit code 4" in process.text


def test_distq_up_starts_no_worker_if_another_program_has_its_port(grid: Cluster, tmp_path: Path) -> None:
    """A worker would connect to the other master, and lease its tasks."""
    grid.master()
    process = up(grid, tmp_path)
    assert process.ends() == 2
    assert f"annot listen at 127.0.0.1:{grid.port}: Address already in use." in process.text
    assert "worker-1" not in process.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_distq_up_ends_in_order_after_signals_in_quick_succession(grid: Cluster, tmp_path: Path, number: int) -> None:
    """`timeout` sends a signal to the command, and then to its group; people press Ctrl-C twice."""
    process = up(grid, tmp_path)
    eventually(lambda: "master_connected" in process.text, "a worker", lambda: process.text)
    pids = descendants(process.popen.pid)
    for _ in range(4):
        process.signal(number)
    assert process.ends() == 0, process.text
    assert [pid for pid in pids if lives(pid)] == []
    assert "Traceback" not in process.text


def test_distq_up_makes_a_missing_key(tmp_path: Path) -> None:
    """`distq up` also prints the key."""
    port = free_port()
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{port}", "DISTQ_HTTP_ADDRESS": "off"}
    with subprocess.Popen(
        [sys.executable, "-m", "distq", "up"], env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        key = next(line for line in process.stdout if line.startswith("export DISTQ_AUTHKEY="))
        with distq.Client(f"127.0.0.1:{port}", key.strip().partition("=")[2]) as client:
            assert client.submit(pickle.dumps, 5, 5).result(20) == pickle.dumps(5, 5)
        process.terminate()
        process.stdout.read()
        assert process.wait(20) == 0
