"""Tests of a disk that becomes full under a running master: the master reports it, survives, and recovers by itself."""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go, running
from tests.volume import small_volume
from tests.waiting import eventually

import distq

pytestmark = pytest.mark.root

VOLUME_MIB = 160
SUBMITS = 100
FREE_MIB = 50
"""Free space in MiB that is less than what the master reserves for settling."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """Yield a small volume in memory."""
    with small_volume(tmp_path, VOLUME_MIB) as volume:
        yield volume


def ready(grid: Cluster) -> tuple[int, str]:
    """Return the status and the text of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{grid.http_port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_p7_a_full_disk_refuses_submits_until_it_has_free_space(grid: Cluster, volume: Path, held: Path) -> None:
    """The caller gets an error, running tasks are settled, and /readyz gives the reason.

    With free space all work continues.
    """
    store = {"DISTQ_STORE": f"sqlite:///{volume / 'queue.db'}", "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}"}
    master = grid.master(**store)
    grid.tasks()
    with grid.client() as client:
        before = client.submit(tasks.hold, str(held), "done")
        running(held)
        assert ready(grid)[0] == 200
        assert "The last commit took" in ready(grid)[1]
        other = volume / "of-another-program"
        free_mib = os.statvfs(volume)
        with other.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_mib.f_bavail * free_mib.f_frsize - (FREE_MIB << 20))
        with pytest.raises(distq.RefusedSubmit, match="make room"):
            client.submit(tasks.square, 3).result(30)
        eventually(lambda: ready(grid)[0] == 503, "a master that is not ready")
        assert "make room" in ready(grid)[1]
        go(held)
        assert before.result(30) == "done"
        master.logs("store_refused")
        other.unlink()
        eventually(lambda: ready(grid)[0] == 200, "a master that is ready again")
        assert client.submit(tasks.square, 4).result(30) == 16
        master.logs("store_recovered")
    master.signal(9)
    master.ends()
    again = grid.master(**store)
    assert again.logs("tasks_loaded")[0]["tasks"] == 2


FAILING_SYNC = """
import sys
from distq.storage import sqlite_connection

run, commits = sqlite_connection.SqliteConnection.run, 0

def failing(self, sql, values=()):
    global commits
    commits += sql == "COMMIT"
    if sql == "COMMIT" and commits > 40:
        raise sqlite_connection.SqliteError(1034, "disk I/O error")  # SQLITE_IOERR_FSYNC
    return run(self, sql, values)

sqlite_connection.SqliteConnection.run = failing
from distq.cli.app import run as distq
sys.exit(distq(["master"]))
"""


def test_p1_a_failed_sync_ends_the_master_without_a_loss_of_answered_submits(grid: Cluster, tmp_path: Path) -> None:
    """The master exits with 4 and one sentence.

    The next master has every answered submit, and the client continues with it.
    """
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    master = grid.run("master", launcher=("-c", FAILING_SYNC), **store)
    master.logs("master_listened")
    futures: list[distq.TaskFuture[int]] = []
    client = grid.client()
    try:

        def submit() -> None:
            for n in range(SUBMITS):
                futures.append(client.submit(tasks.square, n))
                client.flush(1.0)

        submitting = threading.Thread(target=submit)
        submitting.start()
        assert master.ends() == 4
        (failure,) = master.events("store_failed")
        assert "failed to read, write or sync" in failure["reason"]
        assert "Traceback" not in master.text
        answered = [future for future in futures if future.task_id is not None]
        assert 10 < len(answered) < SUBMITS
        again = grid.master(**store)
        assert again.logs("tasks_loaded")[0]["tasks"] >= len(answered)
        grid.tasks()
        submitting.join()
        assert [future.result(30) for future in futures] == [n * n for n in range(SUBMITS)]
    finally:
        client.abandon()  # no process may wait for an ended master, even after a failure
