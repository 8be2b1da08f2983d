"""Tests of `distq worker` with standard-library servers, which have only two queues."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.managers import BaseManager, BaseProxy
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.holding import go, running
from tests.waiting import eventually
from tests.wire import programs

# The server of the examples with either pair of common names; a `get` of its work queue may be unable to wait.
SERVER = """
import queue, sys
from multiprocessing.managers import BaseManager

class Impatient(queue.Queue):
    def get(self, block=True, timeout=None):
        return queue.Queue.get(self, False)

class Manager(BaseManager): pass

port, key, names, kind = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].split(","), sys.argv[4]
work, result = (Impatient if kind == "impatient" else queue.Queue)(), queue.Queue()
Manager.register(names[0], callable=lambda: work)
Manager.register(names[1], callable=lambda: result)
server = Manager(address=("127.0.0.1", port), authkey=key).get_server()
print("ready", flush=True)
server.serve_forever()
"""


class StdlibClient(BaseManager):
    """A client that uses only the standard library."""


for name in ("get_work_queue", "get_result_queue", "get_task_queue", "get_done_queue"):
    StdlibClient.register(name)


class StdlibServer:
    """A running standard-library server, and its two queues."""

    def __init__(self, grid: Cluster, work: str, result: str) -> None:
        # The standard library keeps a broken connection forever, by address.
        BaseProxy._address_to_local.clear()
        manager = StdlibClient(("127.0.0.1", grid.port), KEY.encode())
        manager.connect()
        self.work: Any = getattr(manager, work)()
        self.result: Any = getattr(manager, result)()


@contextmanager
def stdlib_server(
    grid: Cluster,
    interpreter: str,
    *,
    names: tuple[str, str] = ("get_work_queue", "get_result_queue"),
    kind: str = "usual",
) -> Iterator[StdlibServer]:
    """Run a standard-library server on the cluster's port, and kill it at the end."""
    with programs.start(interpreter, SERVER, str(grid.port), KEY, ",".join(names), kind) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield StdlibServer(grid, *names)
        finally:
            process.kill()


@pytest.mark.parametrize("names", [("get_work_queue", "get_result_queue"), ("get_task_queue", "get_done_queue")])
def test_a_worker_serves_a_standard_library_server(grid: Cluster, interpreter: str, names: tuple[str, str]) -> None:
    """With either pair of names, on every Python, the worker runs each item once and drains."""
    with stdlib_server(grid, interpreter, names=names) as served:
        worker = grid.worker("square", 2)
        for number in range(50):
            served.work.put(number)
        assert sorted(served.result.get(timeout=20) for _ in range(50)) == [number**2 for number in range(50)]
        assert worker.logs("master_connected")[0]["stock"] is True
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0


def test_an_ended_worker_leaves_no_blocked_get(grid: Cluster, interpreter: str) -> None:
    """An item that is put after the worker's end stays on the server; a blocked `get` would have taken it."""
    with stdlib_server(grid, interpreter) as served:
        worker = grid.worker("square", 2)
        worker.executors(2)
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        served.work.put("kept")
        assert served.work.get(timeout=5) == "kept"


def test_a_drain_finishes_the_running_item(grid: Cluster, held: Path) -> None:
    """The worker puts the item's result; the next item stays on the server."""
    with stdlib_server(grid, sys.executable) as served:
        worker = grid.worker("hold")
        served.work.put((str(held), "first"))
        running(held)
        served.work.put((str(held), "second"))
        worker.signal(signal.SIGTERM)
        worker.logs("drain_began")
        go(held)
        assert worker.ends() == 0
        assert served.result.get(timeout=5) == "first"
        assert served.work.qsize() == 1


def test_a_queue_that_never_waits_is_polled_with_pauses(grid: Cluster) -> None:
    """The worker pauses after a `get` that raises Empty immediately, and still runs all items."""
    with stdlib_server(grid, sys.executable, kind="impatient") as served:
        worker = grid.worker("square")
        (executor,) = worker.executors()
        with pytest.raises(Empty):
            served.result.get(timeout=1)  # a second without any item
        with open(f"/proc/{executor}/stat", encoding="ascii") as file:  # noqa: PTH123 # as short as it is
            ticks = sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
        assert ticks < 50
        served.work.put(3)
        assert served.result.get(timeout=5) == 9


def test_a_worker_finds_a_restarted_server_again(grid: Cluster, held: Path) -> None:
    """The worker puts the result of the item that ran meanwhile when the server is back."""
    with stdlib_server(grid, sys.executable) as served:
        worker = grid.worker("hold")
        served.work.put((str(held), "kept"))
        running(held)
    with stdlib_server(grid, sys.executable) as served:
        go(held)
        assert served.result.get(timeout=20) == "kept"
        worker.logs("executor_parted")


def test_an_item_that_raises_is_a_warning_and_the_next_one_runs(grid: Cluster) -> None:
    """A standard-library server has no retries and no dead letters."""
    with stdlib_server(grid, sys.executable) as served:
        worker = grid.worker("poison")
        for item in ("raise", "fine"):
            served.work.put(item)
        assert served.result.get(timeout=20) == "fine"
        assert worker.logs("task_failed")[0]["cause"] == "ValueError: as the item says"


def test_a_worker_recognises_a_master_in_place_of_a_standard_library_server(grid: Cluster) -> None:
    """Each connection detects the kind of its server."""
    with stdlib_server(grid, sys.executable):
        worker = grid.worker("square")
        worker.executors()
    grid.master()
    worker.logs("executor_joined", stock=False)
    manager = grid.manager()
    manager.get_work_queue().put(4)
    assert manager.get_result_queue().get(timeout=20) == 16


def test_a_server_without_the_queues_is_reported_as_such(grid: Cluster) -> None:
    """The log contains the reason, and the worker continues to try."""
    with programs.start(sys.executable, SERVER, str(grid.port), KEY, "get_a,get_b", "usual") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        worker = grid.worker("square")
        eventually(
            lambda: any("offers no get_work_queue" in event["reason"] for event in worker.events("executor_parted")),
            "the reason",
            lambda: worker.text,
        )
        process.kill()
