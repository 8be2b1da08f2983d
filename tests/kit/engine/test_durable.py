"""Accepted tasks stay accepted, whatever happens to the master's container."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.kit.engine.stack import ALL_BUT_GRAFANA, ON_IMAGES, Stack, inspect, stack, with_test_tasks
from tests.kit.shell import WORKER_IMAGE, run, wait_for_value
from tests.ports import free_port

pytestmark = ON_IMAGES

TASKS = 300
LATER_TASKS = 1_500
NAP_S = 0.1
NEWER = "distq-test-newer-worker:1"
SERVICES = ("master", "worker")


def test_p1_restart_kill_and_down_in_mid_load_lose_nothing(tmp_path: Path) -> None:
    """After `restart master`, `kill -9`, `down` and `up`, each task has its one result, and none is left or dead."""
    with stack(with_test_tasks(tmp_path, DISTQ_TASKS="tasks.test"), MASTER_PORT=str(free_port())) as project:
        project.up(*SERVICES, scale=2)
        with project.client() as client:
            futures = [client.submit_named("nap", [NAP_S]) for _ in range(TASKS)]
            assert client.flush(60)
            for number, fault in enumerate((restart, kill, down), 1):
                wait_until_done(futures, TASKS * number // 5)
                fault(project)
                assert not all(future.done() for future in futures), "it was to happen in mid-load"
            assert [future.result(120) for future in futures] == ["rested"] * TASKS
        assert counts(project) == {"ready": 0, "held": 0, "delayed": 0, "leased": 0, "dead": 0, "results": TASKS}


def test_p1_workers_come_go_die_and_change_in_mid_load_and_nothing_is_lost(tmp_path: Path) -> None:
    """`--scale`, `kill -9` of every other container, and another worker image let each task end exactly once."""
    files = with_test_tasks(tmp_path, DISTQ_TASKS="tasks.test")
    newer = tmp_path / "newer.yaml"
    newer.write_text(json.dumps({"services": {"worker": {"image": NEWER}}}))
    run("docker", "build", "--quiet", "--tag", NEWER, "-", given=f"FROM {WORKER_IMAGE}\nLABEL newer=yes\n")
    try:
        with stack(files, MASTER_PORT=str(free_port())) as project:
            project.up(*ALL_BUT_GRAFANA, scale=2)
            with project.client() as client:
                futures = [client.submit_named("nap", [NAP_S]) for _ in range(LATER_TASKS)]
                assert client.flush(60)

                def scale_up() -> None:
                    project.up(*ALL_BUT_GRAFANA, scale=5)

                def scale_down() -> None:
                    project.up(*ALL_BUT_GRAFANA, scale=1)

                def kill_all_but_the_master() -> None:
                    victims = [one for name in ("worker", "prometheus") for one in project.containers(name)]
                    run("docker", "kill", "--signal", "KILL", *victims)
                    project.up(*ALL_BUT_GRAFANA, scale=2)

                def change_the_image() -> None:
                    project.use(newer).up(*ALL_BUT_GRAFANA, scale=2)
                    images = {inspect(container)["Config"]["Image"] for container in project.containers("worker")}
                    assert images == {NEWER}

                for fault in (scale_up, scale_down, kill_all_but_the_master, change_the_image):
                    done = sum(future.done() for future in futures)
                    wait_until_done(futures, done + 20)
                    fault()
                    assert not all(future.done() for future in futures), "it was to happen in mid-load"
                assert [future.result(180) for future in futures] == ["rested"] * LATER_TASKS
            everything = {"ready": 0, "held": 0, "delayed": 0, "leased": 0, "dead": 0, "results": LATER_TASKS}
            assert counts(project) == everything
    finally:
        run("docker", "rmi", "--force", NEWER)


def wait_until_done(futures: Sequence[Future[Any]], count: int) -> None:
    """Wait until at least this number of futures have ended."""
    wait_for_value(lambda: sum(future.done() for future in futures), lambda done: done >= count, 60, every_s=0.05)


def restart(project: Stack) -> None:
    """Restart the master, as an operator does after a change of settings."""
    project.compose("restart", "master")


def kill(project: Stack) -> None:
    """Kill the master, as the kernel does when memory runs out."""
    run("docker", "kill", "--signal", "KILL", *project.containers("master"))
    project.up(*SERVICES, scale=2)


def down(project: Stack) -> None:
    """Remove and recreate all containers; the volumes stay."""
    project.compose("down", "--timeout", "20")
    project.up(*SERVICES, scale=2)


def counts(project: Stack) -> dict[str, int]:
    """Return the master's number of tasks by state."""
    look = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9001/api/v1/overview').read().decode())"
    found: dict[str, int] = json.loads(project.exec("master", "python", "-c", look))["tasks"]
    return found
