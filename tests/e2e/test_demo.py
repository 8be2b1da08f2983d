"""Tests of `distq demo` and of the load of Compose's profile `demo`: their output and their end."""

import random
import re
import signal
import subprocess
import sys
import time

import pytest
from tests.e2e.cluster import Cluster, descendants, lives
from tests.waiting import eventually

from distq.demo.load import Load
from distq.net.stop_request import StopRequest

SEED = 20_261


def demo() -> "subprocess.Popen[str]":
    """Start the demo, with its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "distq", "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_demo_shows_the_recipes_job_and_the_metrics() -> None:
    """The demo shows ten squares, the queue depth, p50 and p95.

    Then every process ends cleanly in under five seconds.
    """
    started_at = time.perf_counter()
    with demo() as running:
        output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    squares = re.findall(r"^(\d+) \* (\d+) = (\d+)$", output, re.MULTILINE)
    assert len(squares) == 10
    assert all(int(a) == int(b) and int(a) * int(b) == int(c) for a, b, c in squares)
    assert re.search(r"Queue depth 0; task latency p50 \d+ ms, p95 \d+ ms\.", output)
    assert "Stopped: master cleanly, worker 1 cleanly, worker 2 cleanly." in output
    # The limit is twice the documented time: the machine runs other tests at the same time.
    assert time.perf_counter() - started_at < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("nth", range(3))
def test_a_demo_ended_at_any_time_leaves_no_process(number: signal.Signals, nth: int) -> None:
    """Ctrl-C, SIGTERM and SIGKILL arrive at random times in the first two seconds."""
    after_s = random.Random(SEED + nth * 100 + number).uniform(0.1, 2.0)
    seen: set[int] = set()
    with demo() as running:
        until = time.perf_counter() + after_s
        while time.perf_counter() < until:
            seen |= descendants(running.pid)
            time.sleep(0.005)  # the time of the signal is the subject of the test
        running.send_signal(number)
        output, _ = running.communicate(timeout=30)
    assert running.returncode in {-number, 128 + number, 0}, output
    assert "Traceback" not in output
    eventually(lambda: not any(map(lives, seen)), f"the end of {seen} after {after_s:.2f} s")


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)]
)
def test_a_signal_ends_the_demo_at_its_next_check_and_a_second_one_immediately(
    number: signal.Signals, end: type[BaseException]
) -> None:
    """A finalizer of the standard library may be running: Python would print an exception there, and go on."""
    stop = StopRequest()
    stop.note(number, None)
    with pytest.raises(end):
        stop.note(number, None)
    stop = StopRequest()
    stop.note(number, None)
    with pytest.raises(end):
        stop.check()
    stop.note(number, None)  # while the demo cleans up


def test_the_demos_load_runs_until_a_signal(grid: Cluster) -> None:
    """Workers know every task name of the load; submitted tasks continue after its end."""
    grid.master()
    grid.run("worker", "--concurrency", "2").logs("executor_joined")
    load = grid.run("distq.demo.load", launcher=("-m",))
    eventually(lambda: "submitted so far:" in load.text, "its first line", lambda: load.text)
    load.signal(signal.SIGTERM)
    assert load.ends() == 0, load.text
    assert "Traceback" not in load.text


def test_every_task_of_the_demos_load_ends_as_intended(grid: Cluster) -> None:
    """The load includes failures, a time limit and a killed executor."""
    grid.master()
    grid.run("worker", "--concurrency", "2").logs("executor_joined")
    with grid.client() as client:
        load = Load(client, random.Random(1))
        ends = {kind: submit() for kind, (_, submit) in load.kinds.items()}
        assert ends.pop("changed my mind") in (True, False)
        assert {kind: type(ends[kind].exception(30)).__name__ for kind in ("fails", "hangs", "crashes")} == {
            "fails": "ValueError",
            "hangs": "TimeLimitExceeded",
            "crashes": "TaskFailed",
        }
        assert ends["group"].result(30) > 0
        client.abandon()
