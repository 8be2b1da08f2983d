"""Tests of `distq store copy` with real masters: everything goes along to another store."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.holding import go, holders, running, store_the_leases
from tests.storage.copying_program import stopping_copy
from tests.waiting import SOON_S

import distq

pytestmark = pytest.mark.postgresql


def done(grid: Cluster, *arguments: str, **settings: str) -> str:
    """Run a command that succeeds, and return its output."""
    command = grid.run(*arguments, **settings)
    assert command.ends() == 0, command.text
    return command.text


def seen(grid: Cluster) -> list[Any]:
    """Return what is the same before and after: the queue `later`, its tasks, dead letters, schedules."""
    queues = grid.json_of("status", "--json")["queues"]["queues"]
    names = ("name", "ready", "delayed", "held", "dead", "paused", "concurrency", "capacity")
    found = grid.json_of("list", "--queue", "later", "--json")["tasks"]
    return [
        [{name: value for name, value in task.items() if name != "since"} for task in found],
        [[queue.get(name) for name in names] for queue in queues if queue["name"] == "later"],
        grid.json_of("dead", "list", "--json"),
        sorted(grid.json_of("schedule", "list", "--json"), key=lambda schedule: str(schedule["name"])),
    ]


def test_every_kind_of_state_goes_along_to_a_database_and_back(
    grid: Cluster, database: str, tmp_path: Path, held: Path
) -> None:
    """A running task ends on the other store, its chain continues, and results, dead letters and limits are there."""
    file, url = f"sqlite:///{tmp_path / 'queue.db'}", f"{database}&schema=moved_{time.time_ns()}"
    back = f"sqlite:///{tmp_path / 'back.db'}"
    settings = {"DISTQ_RECLAIM_S": "60s"}
    master = grid.master(DISTQ_STORE=file, **settings)
    grid.tasks(2, "--queues", "default")
    with grid.client() as client:
        result = client.options(result_ttl=3600).submit(tasks.square, 12)
        assert result.result(SOON_S) == 144
        dead = client.submit(tasks.divide, 1, 0)
        assert isinstance(dead.exception(SOON_S), ZeroDivisionError)
        client.options(queue="later", delay=3600, headers={"customer": "7"}).submit(tasks.square, 3)
        client.options(queue="later", priority=8, expires=7200).submit_named("elsewhere:task", [1])
        client.options(queue="later", unique_key="one", concurrency_key="user", concurrency=1).submit_named(
            "other:task", []
        )
        client.options(every=3600).schedule_named("nightly", "elsewhere:report")
        client.options(every=3600).schedule_named("paused", "elsewhere:report")
        chained = client.chain(distq.call(tasks.hold, str(held), "3"), distq.call(int), distq.call(tasks.square))
        running(held)
        client.group([distq.call(tasks.square, n) for n in range(3)], then=distq.call(tasks.total)).result(SOON_S)
        done(grid, "schedule", "pause", "paused")
        done(grid, "queue", "set", "later", "--capacity", "1000", "--running", "5")
        done(grid, "pause", "--queue", "later")
        store_the_leases(client)
        before = seen(grid)
        master.signal(signal.SIGKILL)
        master.ends()
        assert "cannot be copied to itself" in _refused(grid, file, file)
        done(grid, "store", "copy", file, url)
        master = grid.master(DISTQ_STORE=url, **settings)
        assert seen(grid) == before
        go(held)
        assert chained.result(SOON_S) == 9
        assert "144" in done(grid, "result", result.task_id or "")
        dead_before = grid.json_of("dead", "list", "--json")
        master.signal(signal.SIGTERM)
        assert master.ends() == 0
        copied = grid.json_of("store", "copy", url, back, "--json")
        assert copied["tasks"]["later"] == {"delayed": 1, "ready": 2}
        assert copied["rows"] == copied["written"] > 5
        grid.master(DISTQ_STORE=back, **settings)
        assert grid.json_of("dead", "list", "--json") == dead_before
        done(grid, "resume", "--queue", "later")
        again = client.submit(tasks.square, 5)
        assert again.result(SOON_S) == 25
        assert again.task_id != result.task_id
        client.abandon()
    assert len(holders(held)) == 1


def _refused(grid: Cluster, *urls: str) -> str:
    command = grid.run("store", "copy", *urls)
    assert command.ends() == 4, command.text
    assert "Traceback" not in command.text
    return command.text


def test_no_master_starts_on_an_unfinished_copy(grid: Cluster, database: str, tmp_path: Path) -> None:
    """It would run a part of the tasks; the sentence says what to do, and the command continues the copy."""
    for to in (f"sqlite:///{tmp_path / 'to.db'}", f"{database}&schema=unfinished_{time.time_ns()}"):
        file = f"sqlite:///{tmp_path / 'queue.db'}"
        master = grid.master(DISTQ_STORE=file)
        with grid.client() as client:
            for n in range(50):
                client.submit(tasks.square, n)
            assert client.flush(SOON_S)
            client.abandon()
        master.signal(signal.SIGKILL)
        master.ends()
        with stopping_copy(file, to, 2, 10) as program:
            assert program.stdout is not None
            program.stdout.readline()
            program.kill()
        refused = grid.run("master", DISTQ_STORE=to)
        assert refused.ends() == 4, refused.text
        assert "because `distq store copy` was interrupted: repeat that command" in refused.text
        done(grid, "store", "copy", file, to)
        master = grid.master(DISTQ_STORE=to)
        master.logs("tasks_loaded")
        master.signal(signal.SIGKILL)
        master.ends()
        assert "and is no unfinished copy" in _refused(grid, file, to)


def test_a_wrong_url_is_a_usage_error_that_shows_no_password(grid: Cluster) -> None:
    """The arguments are read as DISTQ_STORE is."""
    for wrong in ("postgresql://distq:se@cret@db/distq", "queue.db", ""):
        command = grid.run("store", "copy", "sqlite:///queue.db", wrong)
        assert command.ends() == 2, command.text
        assert "is no store" in command.text
        assert "cret" not in command.text
