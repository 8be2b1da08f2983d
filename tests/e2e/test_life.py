"""Tests of the example programs in examples/life, with real processes and by their output."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster import KEY, Cluster
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S

LIFE = ROOT / "examples" / "life"


def shown(grid: Cluster, name: str, executors: int = 1, **environ: str) -> str:
    """Return the output of an example, with a master and a worker with the given number of executors."""
    grid.master()
    worker = grid.run("worker", name, "--concurrency", str(executors), PYTHONPATH=str(LIFE), **environ)
    environment = {
        "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}",
        "DISTQ_AUTHKEY": KEY,
        "FIRST_WORKER": str(worker.popen.pid),
    }
    ran = subprocess.run(
        [sys.executable, str(LIFE / f"run_{name}.py")],
        env={**os.environ, **environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def figures(output: str, pattern: str) -> list[float]:
    """Return the numbers in the one part of the output that the pattern's groups match."""
    found = re.search(pattern, output)
    assert found is not None, output
    return [float(number) for number in found.groups()]


def test_the_example_when_shows_delay_expiry_and_priority(grid: Cluster) -> None:
    """The example shows delay, eta, expiry and priority."""
    output = shown(grid, "when")
    delayed_s, eta_s = figures(output, r"ran after ([\d.]+) s, an eta of 1 s after ([\d.]+) s")
    assert 1.4 <= delayed_s < SOON_S
    assert 0.9 <= eta_s < SOON_S
    assert "busy for a second: the task expired before it could run." in output
    assert "they ran: priority 9, priority 5, priority 0\n" in output


def test_the_example_inside_shows_what_a_task_can_do_about_its_run(grid: Cluster) -> None:
    """The example shows `current`, retries, snoozes and discards."""
    output = shown(grid, "inside")
    assert re.search(r"inside:run_facts of queue default, attempt 1, ends by \d{10} at the latest\n", output), output
    assert "Retry: done in attempt 3\n" in output
    assert "Snooze: a second later, and still attempt 1\n" in output
    assert "Discard: the task was cancelled: discarded: no name to greet.\n" in output


def test_the_example_stopped_shows_cancels_and_stops(grid: Cluster) -> None:
    """A task is cancelled before it runs, or stopped while it runs, with or without time to clean up."""
    output = shown(grid, "stopped")
    assert "cancel() of one that waits: True; of one that runs: False\n" in output
    assert "distq cancel ID: 1 cancelled.\n" in output
    assert "its client receives: the task was cancelled: by an operator.\n" in output
    assert "neither has run: True\n" in output
    assert "abort() of one that runs: True\nit has cleaned up\nits future is cancelled\n" in output
    [free_s] = figures(output, r"free again after (\d+) s")
    assert 1 <= free_s < SOON_S


def test_the_example_order_shows_concurrency_limits(grid: Cluster) -> None:
    """Concurrency keys, limits of a queue and a pause: the number of running tasks never exceeds the limit."""
    output = shown(grid, "order", executors=4)
    [quiet_s] = figures(output, r"a quiet tenant had its result after ([\d.]+) s, while True")
    assert quiet_s < SOON_S
    assert "of the loud one ran at the same time, at most: 1\n" in output
    assert "reports: active, concurrency limit 2, capacity 10,000,000.\n" in output
    assert "reports that ran at the same time, at most: 2\n" in output
    assert "films of two slots each that ran at the same time, of four slots: 2\n" in output
    [mails_s] = figures(output, r"at most five a second: the last one ran after ([\d.]+) s\n")
    assert mails_s >= 2
    assert "no task starts\n" in output


def test_the_example_once_shows_unique_keys(grid: Cluster) -> None:
    """A submit is rejected, gets the same future, replaces the first, is debounced, or is unique for a time."""
    output = shown(grid, "once", executors=2)
    assert re.search(r"rejected: task [0-9a-f]+-1 has the unique key", output), output
    assert "the same task: True\nfree again: report of Monday\n" in output
    assert "the last of five changes was indexed: 4\n" in output
    assert "one is cancelled: the task was cancelled: replaced by a newer submit.\n" in output
    assert "reminded joe\njoe was reminded just now\n" in output


def test_the_example_bounded_shows_a_full_queue_and_results_by_id(grid: Cluster) -> None:
    """A submit to a full queue raises, waits for a while, or blocks; any client with a task's id gets its result."""
    output = shown(grid, "bounded")
    assert "raise: the queue 'small' is full: it holds 3 tasks." in output
    [waited_s] = figures(output, r"half a second: raised after ([\d.]+) s")
    assert 0.5 <= waited_s < SOON_S
    assert "block: taken as soon as there was room, and run: 3\n" in output
    assert "asks for the result of the first: 0\ndistq result: 0\n" in output
    assert "of one that never was: the master does not know the task any more." in output


def test_the_example_watched_shows_states_and_stacks(grid: Cluster) -> None:
    """Each state is one sentence; the stack is shown even for a task that holds the interpreter lock."""
    output = shown(grid, "watched")
    assert "progress: 50% page 1\n" in output
    assert "progress: 100% page 2\n" in output
    assert "why: No slot is free, of 1 that could run it; ready tasks of its queue: 1.\n" in output
    assert "why: Its concurrency key 'one' is at its limit: at most 1 task of the key may be in flight.\n" in output
    assert re.search(r"why: It runs: \S+ leased it [\d.]+ s ago, attempt 1\.\n", output), output
    assert "why: Tasks 'watched:one_by_one' are paused on its queue." in output
    assert re.search(
        r"why: It is delayed until [\d: -]+ UTC, (59|60)\.\d s from now, as its submit requested\.\n", output
    )
    assert "why: Of 1 worker of its queue none knows a task 'unknown:task'" in output
    assert re.search(r"why: It waits until .* for attempt 2, after ValueError: no such page\.\n", output), output
    assert re.search(r"show: \S+  watched:fails on the queue later: dead\n", output), output
    assert re.search(r"^  cause 2        \d{4}-\d\d-\d\d [\d:.]{12}  ValueError: no such page$", output, re.MULTILINE)
    assert re.search(r"stack: .*\n(.*\n)*.*holds_the_interpreter", output), output


def test_the_example_again_shows_schedules(grid: Cluster) -> None:
    """Schedules run by interval or cron line, are paused, run by hand, listed and removed."""
    output = shown(grid, "again", executors=2)
    assert "every half a second, without drift: True\n" in output
    assert "two runs of the slow task were never under way at the same time\n" in output
    assert "by the clocks of Rome: True\nrefused: cron has the hour '25': it takes 0-23." in output
    assert "tick is paused.\nwhile it is paused none comes: True\nrun by hand: True\n" in output
    assert "listed: report, slow, tick | slow skipped some: True\nby-hand added\n" in output
    assert "There is no schedule." in output


def test_the_example_prepared_shows_hooks_limits_and_labels(grid: Cluster, tmp_path: Path) -> None:
    """Executors have a lifespan hook, recycling by memory, devices, labels and coroutine functions."""
    notes = tmp_path / "notes"
    notes.touch()
    worker = {"DISTQ_MAX_RSS": "150MB", "DISTQ_DEVICES": "0,1", "DISTQ_LABELS": "gpu"}
    output = shown(grid, "prepared", executors=2, PREPARED_NOTES=str(notes), **worker)
    assert "predicted: [2, 2, 2, 2, 2, 2, 2, 2, 2]\nset up, once an executor: True\n" in output
    assert "a coroutine function: fetched a page\ndevices: 0 1\nrequires a label: trained\n" in output
    assert "the executor that had too much memory is gone: True\n" in output


def test_the_example_flowing_shows_streams_and_checkpoints(grid: Cluster) -> None:
    """A stream is read by another client and survives a failure; a drained task continues from its checkpoint."""
    output = shown(grid, "flowing")
    assert "parts: 5 4 3 2 1 | they came one by one: True\nresult: lift-off\n" in output
    assert "again, from anywhere: 5 4 3 2 1\nafter a failure: 0 1 2 3\n" in output
    assert "it went on elsewhere: True, attempt 1, nothing twice: True\n" in output


def test_the_example_together_shows_chains_and_groups(grid: Cluster) -> None:
    """The master counts groups over several queues; a failed part is retried together with its dependent tasks."""
    output = shown(grid, "together", executors=2)
    assert "a chain: 8 words\n" in output
    assert f"a group, over two queues: {sum(number * number for number in range(1000))}\n" in output
    assert "gathered: [0, 1, 4, 9, 16]\na stage of several: page 0: ...\n" in output
    assert re.search(r"why: It depends on other tasks, of which (2 have|one has) not ended\.\n", output), output
    assert "its sum, asked for by another client: 3\n" in output
    assert re.search(r"a part failed: TaskBefore: [0-9a-f]+-[0-9a-f]+ has failed: FileNotFoundError: .*\n", output), (
        output
    )
    assert "reported all the same: no, yes\n" in output
    assert re.search(r"or cancelled: the task was cancelled: TaskBefore: \S+ has failed: .*\n", output), output
    assert "tried again: page 1, page 2: seven plain words and no more\n" in output


def test_the_example_beside_shows_threads_and_coroutines(grid: Cluster) -> None:
    """Threads and coroutines have their own limits and names."""
    output = shown(grid, "beside", DISTQ_EXECUTOR="thread", DISTQ_EXECUTOR_TASKS="50")
    for waiting in ("fifty threads that wait for half a second", "fifty coroutines"):
        [waited_s] = figures(output, rf"{waiting}: ([\d.]+) s\n")
        assert 0.5 <= waited_s < SOON_S, "one after the other they would wait for 25 s"
    assert "each task knows its id: True\n" in output
    assert "a limit ends one alone: exceeded time limit 0.5 s\nthe one beside it: True\n" in output
