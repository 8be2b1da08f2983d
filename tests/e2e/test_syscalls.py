"""P1 by system calls: the master sends no reply to a submit before the end of the sync that covers it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster, Process
from tests.tidy.tree import ROOT

from distq.net.dial import dial

SUBMITS = 25
CARELESS = """
import sys
from distq.storage import schema
schema.SETTINGS = tuple("PRAGMA synchronous = OFF" if "synchronous" in one else one for one in schema.SETTINGS)
from distq.cli.app import run
run(["master"])
"""

pytestmark = pytest.mark.ptrace


@contextmanager
def traced(master: Process, calls: list[str]) -> Iterator[None]:
    """Record the master's system calls during a `with` statement."""
    command = [sys.executable, "-m", "tests.storage.tracer", str(master.popen.pid)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        assert tracer.stdout.readline() == "tracing\n"
        yield
        tracer.kill()
        calls += tracer.stdout.read().splitlines()


def unsynced_replies(calls: list[str]) -> tuple[int, int, int]:
    """Return the number of syncs of the log, of replies, and of replies while the log had unsynced bytes."""
    dirty, syncs, replies, early = False, 0, 0, 0
    for call in calls:
        _, when, name, *file = call.split(" ")
        in_log = "".join(file).endswith("-wal")
        if name == "pwrite" and in_log and when == "begin":
            dirty = True
        elif name == "sync" and in_log and when == "end":
            syncs += dirty
            dirty = False
        elif name == "send" and when == "begin":
            replies += 1
            early += dirty
    return syncs, replies, early


def submit(grid: Cluster) -> None:
    """Submit a number of tasks, one after the other, over one connection."""
    connection = dial([("127.0.0.1", grid.port)], KEY.encode(), timeout_s=20)
    info = {"role": "client", "protocol": [1, 1], "version": "test", "session": "s"}
    connection.call("broker", "hello", (info,), timeout_s=20)
    for number in range(1, SUBMITS + 1):
        envelope = ("default", "unknown:task", None, None, None, None, None)
        answer = connection.call("broker", "submit", (number, [envelope], [(0, 1)], [b"x"], 0.0), timeout_s=20)
        assert isinstance(answer, tuple)
        assert answer[0] is True
    connection.close()


@pytest.mark.parametrize("careful", [True, False])
def test_p1_no_reply_precedes_the_sync_that_covers_it(grid: Cluster, tmp_path: Path, careful: bool) -> None:
    """With syncs off the trace has such a reply at every submit, so the check can fail."""
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    if careful:
        master = grid.master(**store)
    else:
        master = grid.run("master", launcher=("-c", CARELESS), **store)
        master.logs("master_listened")
    calls: list[str] = []
    with traced(master, calls):
        submit(grid)
    syncs, replies, early = unsynced_replies(calls)
    assert replies >= SUBMITS
    if careful:
        assert syncs >= SUBMITS
        assert early == 0
    else:
        assert early >= SUBMITS
