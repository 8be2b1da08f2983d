"""Compares the HTTP API of a real master with its OpenAPI document: `python -m tests.web.fuzz EXAMPLES SEED`.

schemathesis sends requests that the document allows, and others that it does not, one by one and in chains. The master
runs in a thread of this process, so that waits and pauses can be short, and the worker in a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.e2e import tasks as example_tasks
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

from distq.master.main import Master
from distq.net import failed_keys
from distq.settings import Role, load
from distq.web import openapi, tasks

WAIT_MAX_S: Final = 0.05
"""Maximum seconds that a request waits here: most requests wait for tasks that no worker runs."""
IDS: Final = "FUZZ_TASK_IDS"
"""The variable with the ids of tasks that have ended in different ways, for `tests.web.fuzz_hooks`."""


@contextmanager
def served(grid: Cluster) -> Iterator[str]:
    """Run a master in a thread; yield the URL of its API."""
    settings = load(
        {
            "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}",
            "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}",
            "DISTQ_AUTHKEY": KEY,
            "DISTQ_STORE": "memory:",
            "DISTQ_DRAIN_S": "0s",
        },
        Role.MASTER,
    ).settings
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, Master]] = []

    async def run() -> None:
        master = Master(settings)
        running.append((asyncio.get_running_loop(), master))
        master.listening.add_done_callback(lambda _: started.set())
        await master.run()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="master")
    with mock.patch.object(failed_keys, "PAUSE_S", 0.0), mock.patch.object(tasks, "WAIT_MAX_S", WAIT_MAX_S):
        thread.start()
        try:
            assert started.wait(SOON_S)
            url = f"http://127.0.0.1:{grid.http_port}"
            eventually(lambda: _answers(f"{url}/livez"), "the master serves HTTP")
            yield url
        finally:
            loop, master = running[0]
            loop.call_soon_threadsafe(master.stop)
            thread.join(SOON_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=SOON_S):
            return True
    except OSError:
        return False


def ended_tasks(grid: Cluster, url: str) -> list[str]:
    """Run tasks on a worker, and return their ids: one succeeded with JSON, one with a pickle, one is a dead letter."""
    grid.tasks()

    def submit(**body: Any) -> str:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}{tasks.PATH}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return str(json.load(answer)["id"])

    ids = [submit(name="builtins:sum", args=[[1, 2]]), submit(name="builtins:int", args=["x"], retries=0)]
    with grid.client() as client:
        pickled = client.submit(example_tasks.square, 3)
        assert pickled.result(SOON_S) == 9
        assert client.result(ids[0], timeout=SOON_S) == 3
        assert client.future(ids[1]).exception(SOON_S) is not None
    assert pickled.task_id is not None
    return [*ids, pickled.task_id]


def fuzzed(folder: Path, examples: int, seed: int | None) -> tuple[int, str]:
    """Run schemathesis with up to that many examples an operation; return its exit code and its output.

    Without a seed it sends the same requests each time.
    """
    with cluster(folder) as grid, served(grid) as url:
        environ = {
            **os.environ,
            IDS: ",".join(ended_tasks(grid, url)),
            "SCHEMATHESIS_HOOKS": "tests.web.fuzz_hooks",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }
        settings = folder / "schemathesis.toml"
        settings.write_text(f'[auth.openapi.{openapi.KEY}]\nbearer = "{KEY}"\n')
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)),
            *("run", f"{url}{openapi.PATH}"),
            *("--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(examples)),
            *("--warnings", "off", "--continue-on-failure"),
            *(
                ["--generation-deterministic"]
                if seed is None
                else ["--seed", str(seed), "--generation-database", "none"]
            ),
        ]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Run with many examples, and print what schemathesis prints."""
    examples, seed = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        code, output = fuzzed(Path(folder), examples, seed)
    print(output)
    return code


if __name__ == "__main__":
    sys.exit(main())
