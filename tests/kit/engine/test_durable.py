"""What was accepted stays accepted, whatever is done to the master's container."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests.kit.engine.stack import Stack, stack, with_test_tasks
from tests.kit.shell import eventually, run

from distq.cli.demo_cluster import free_port

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("images"),
]

TASKS = 300
NAP_S = 0.1
SERVICES = ("master", "worker")


def test_p1_restart_kill_and_down_in_mid_load_lose_nothing(tmp_path: Path) -> None:
    """`restart master`, `kill -9`, `down` and `up`: each of the tasks has its one result, and none is left or dead."""
    with stack(with_test_tasks(tmp_path, DISTQ_TASKS="tasks.test"), MASTER_PORT=str(free_port())) as project:
        project.up(*SERVICES, scale=2)
        with project.client() as client:
            futures = [client.submit_named("nap", [NAP_S]) for _ in range(TASKS)]
            assert client.flush(60)
            for number, trouble in enumerate((restart, kill, down), 1):
                wait_until_done(futures, TASKS * number // 5)
                trouble(project)
                assert not all(future.done() for future in futures), "it was to happen in mid-load"
            assert [future.result(120) for future in futures] == ["rested"] * TASKS
        assert counts(project) == {"ready": 0, "held": 0, "delayed": 0, "leased": 0, "dead": 0, "results": TASKS}


def wait_until_done(futures: Sequence[Future[Any]], count: int) -> None:
    """Returns when so many have ended."""
    eventually(lambda: sum(future.done() for future in futures), lambda done: done >= count, 60, every_s=0.05)


def restart(project: Stack) -> None:
    """As an operator does after a change of settings."""
    project.compose("restart", "master")


def kill(project: Stack) -> None:
    """As the kernel does when it is out of memory."""
    run("docker", "kill", "--signal", "KILL", *project.containers("master"))
    project.up(*SERVICES, scale=2)


def down(project: Stack) -> None:
    """All containers are removed; the volumes stay."""
    project.compose("down", "--timeout", "20")
    project.up(*SERVICES, scale=2)


def counts(project: Stack) -> dict[str, int]:
    """How many tasks there are by state, as the master says."""
    look = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9001/api/v1/overview').read().decode())"
    found: dict[str, int] = json.loads(project.exec("master", "python", "-c", look))["tasks"]
    return found
