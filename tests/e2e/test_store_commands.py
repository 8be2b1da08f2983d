"""Tests of `distq store`: backups of a running master, and commands for a file that no process has open."""

import signal
import threading
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster

TASKS = 2_000


def test_a_backup_under_load_has_every_task_accepted_before_it(grid: Cluster, tmp_path: Path) -> None:
    """The backup is a consistent snapshot, and a master that opens it continues from there."""
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    copy = tmp_path / "copy.db"
    master = grid.master(**store)
    with grid.client() as client:
        for n in range(TASKS):
            client.submit(tasks.square, n)
        assert client.flush(20)
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                client.submit(tasks.square, -1)
                client.flush(20)

        loading = threading.Thread(target=load)
        loading.start()
        backup = grid.run("store", "backup", str(copy))
        assert backup.ends() == 0, backup.text
        stop.set()
        loading.join()
        client.abandon()
    assert grid.run("store", "backup", str(copy)).ends() == 2, "it overwrites nothing"
    assert [path.name for path in tmp_path.glob("*copy*")] == ["copy.db"]
    master.signal(signal.SIGKILL)
    master.ends()
    counted = grid.json_of("store", "check", str(copy), "--json")
    assert counted["problems"] == []
    assert counted["tasks"]["default"]["ready"] >= TASKS
    again = grid.master(DISTQ_STORE=f"sqlite:///{copy}")
    assert again.logs("tasks_loaded")[0]["tasks"] == counted["tasks"]["default"]["ready"]


def test_a_backup_of_a_master_without_a_file_is_an_error(grid: Cluster, tmp_path: Path) -> None:
    """The command ends with a sentence, and creates no file."""
    grid.master()
    backup = grid.run("store", "backup", str(tmp_path / "copy.db"))
    assert backup.ends() != 0
    assert "nothing on disk" in backup.text
    assert "Traceback" not in backup.text
    assert list(tmp_path.glob("copy*")) == []


def test_a_damaged_file_is_reported_and_salvaged(grid: Cluster, tmp_path: Path) -> None:
    """`check` exits with 4 and says what to do; `salvage` writes a new file, and a master opens it."""
    path, new = tmp_path / "queue.db", tmp_path / "new.db"
    master = grid.master(DISTQ_STORE=f"sqlite:///{path}")
    with grid.client() as client:
        for n in range(TASKS):
            client.submit(tasks.square, n)
        assert client.flush(20)
        client.abandon()
    held = grid.run("store", "check", str(path))
    assert held.ends() == 4
    assert "stop it first" in held.text
    master.signal(signal.SIGTERM)
    master.ends()
    with path.open("r+b") as file:
        file.seek(30 * 4096)
        file.write(b"\xff" * 4096)
    check = grid.run("store", "check", str(path))
    assert check.ends() == 4
    assert "salvage" in check.text
    salvage = grid.run("store", "salvage", str(path), str(new))
    assert salvage.ends() == 0, salvage.text
    again = grid.master(DISTQ_STORE=f"sqlite:///{new}")
    assert TASKS // 2 < again.logs("tasks_loaded")[0]["tasks"] < TASKS


@pytest.mark.parametrize("command", ["stat", "check"])
def test_a_store_command_without_a_file_uses_the_settings(grid: Cluster, tmp_path: Path, command: str) -> None:
    """`DISTQ_STORE` names the file."""
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    master = grid.master(**store)
    master.signal(signal.SIGTERM)
    assert master.ends() == 0
    shown = grid.run("store", command, **store)
    assert shown.ends() == 0
    assert str(tmp_path / "queue.db") in shown.text
    other = grid.run("store", command, DISTQ_STORE="memory:")
    assert other.ends() == 2
    assert "which is not a file" in other.text
