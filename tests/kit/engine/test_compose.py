"""`docker compose up`, for real: the recipe's job, the key, replicas, what is lost (nothing), and the end."""

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.engine.stack import ALL_BUT_GRAFANA, CLIENT, ON_IMAGES, Stack, inspect, metric, stack, with_test_tasks
from tests.kit.shell import eventually, fails, run, seconds_of

pytestmark = ON_IMAGES

SQUARES = {str((number, number * number)) for number in range(10)}
OWN_SQUARES = [f"square({number}) is {number * number}" for number in range(10)]
FIRST_RESULT_WITHIN_S = 60
DISCOVERY_WITHIN_S = 15
OWN_KEY = "a-key-of-ones-own-that-is-long-enough"


@pytest.fixture(name="running", scope="module")
def run_stack(images: None) -> Iterator[Stack]:
    """Everything but Grafana, as compose.yaml has it, for all tests that leave it as it is."""
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        yield project


def targets(project: Stack) -> dict[str, str]:
    """What Prometheus scrapes, and how that goes: job and address."""
    active = project.prometheus("targets", state="active")["activeTargets"]
    return {f"{target['labels']['job']} {target['labels']['instance']}": target["health"] for target in active}


def test_the_recipes_job_runs(running: Stack) -> None:
    """`docker compose run --rm client` prints its ten results; then come those of distq's own client, in order."""
    said = running.compose("run", "--rm", "client").splitlines()
    assert set(said[:10]) == SQUARES
    assert said[10:] == OWN_SQUARES


def test_from_nothing_to_the_first_result_takes_less_than_a_minute(images: None) -> None:
    """Images built, no volume, no key: up, and ten results through the published port."""
    with stack() as project:

        def first_result() -> None:
            project.up(*ALL_BUT_GRAFANA)
            assert set(project.client_on_the_host(10)) == SQUARES

        assert seconds_of(first_result) < FIRST_RESULT_WITHIN_S


def test_the_key_is_made_once_and_is_the_masters_alone(running: Stack) -> None:
    """One file that nobody but distq's user reads; a new container of the master finds it and keeps it."""
    before = running.authkey()
    look = "import os, stat; s = os.stat('/etc/distq/authkey'); print(s.st_uid, s.st_mode)"
    uid, mode = map(int, running.exec("master", "python", "-c", look).split())
    assert uid == 65532
    assert stat.S_IMODE(mode) == 0o400
    running.compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "master")
    assert running.authkey() == before
    assert running.exec("worker", "distq", "key", "show").strip() == before


def test_the_key_is_nowhere_but_in_its_file(running: Stack) -> None:
    """Not in what the engine says of any container, not in a process list, not in the logs."""
    key = running.authkey()
    assert len(key) >= 32
    for service in ALL_BUT_GRAFANA:
        for container in running.containers(service):
            assert key not in json.dumps(inspect(container))
            assert key not in run("docker", "top", container)
    assert key not in running.compose("logs")


def test_only_distqs_containers_mount_the_key(running: Stack) -> None:
    """Prometheus has its configuration and its data."""
    mounts = inspect(running.containers("prometheus")[0])["Mounts"]
    assert {mount["Destination"] for mount in mounts} == {"/etc/prometheus", "/etc/rules", "/prometheus"}


def test_containers_run_as_nobody_without_a_capability(running: Stack) -> None:
    """As the kernel sees them: no capability in any set, none to be gained, and no place to write but /tmp."""
    look = "print(open('/proc/self/status').read()); open('/opt/distq/new', 'w')"
    said = fails("docker", "exec", running.containers("worker")[0], "python", "-c", look)
    fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Uid"].split()[0] == "65532"
    assert "Read-only file system" in said


def test_prometheus_finds_every_replica_in_time(running: Stack) -> None:
    """`--scale worker=5`: five workers are scraped within fifteen seconds, and two when there are two again."""

    def workers_up(found: dict[str, str]) -> list[str]:
        return [name for name, health in found.items() if name.startswith("distq-worker") and health == "up"]

    running.up(*ALL_BUT_GRAFANA, scale=5)
    eventually(lambda: targets(running), lambda found: len(workers_up(found)) == 5, DISCOVERY_WITHIN_S)
    running.up(*ALL_BUT_GRAFANA, scale=2)
    eventually(lambda: targets(running), lambda found: len(workers_up(found)) == 2, DISCOVERY_WITHIN_S)


def put_and_get(project: Stack, item: Any) -> str:
    """Puts one item through the published port, and waits for its result."""
    return put(project, item, "print(results.get(timeout=60))").strip()


def put(project: Stack, item: Any, then: str = "") -> str:
    """Puts one item through the published port, then runs a line of Python that may use `results`."""
    program = f"""
import sys
sys.path.insert(0, {str(CLIENT.parent)!r})
import squares
host, _, port = {project.address("master", 9000)!r}.rpartition(":")
master = squares.Master(address=(host, int(port)), authkey={project.authkey()!r}.encode())
master.connect()
work, results = master.get_work_queue(), master.get_result_queue()
work.put({item!r})
{then}
"""
    return run(sys.executable, "-c", program)


def busy_workers(project: Stack) -> list[str]:
    """The containers of workers in which a task runs."""
    busy = 'distq_worker_executors{pool="default",state="busy"}'
    return [container for container in project.containers("worker") if metric(container, busy)]


def test_stopping_drains_and_loses_nothing(images: None, tmp_path: Path) -> None:
    """`docker compose stop worker` in mid-task: the task ends, its result is there, and every exit code is 0."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:nap")) as project:
        project.up("master", "worker", scale=1)
        put(project, 4)
        eventually(lambda: busy_workers(project), bool, within_s=20)
        project.compose("stop", "worker")
        worker = inspect(project.containers("worker")[0])["State"]
        assert (worker["ExitCode"], worker["OOMKilled"]) == (0, False)
        assert put(project, 0, "print(results.get(timeout=10))").strip() == "rested"
        project.compose("stop", "master")
        assert inspect(project.containers("master")[0])["State"]["ExitCode"] == 0


def test_a_killed_worker_loses_nothing_(images: None, tmp_path: Path) -> None:
    """`kill -9` of a container in mid-task: another worker runs the task."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:nap")) as project:
        project.up("master", "worker", scale=2)
        put(project, 6)
        [busy] = eventually(lambda: busy_workers(project), bool, within_s=20)
        run("docker", "kill", "--signal", "KILL", busy)
        assert put(project, 0, "print(results.get(timeout=60), results.get(timeout=60))").split() == ["rested"] * 2


def test_process_one_reaps(images: None, tmp_path: Path) -> None:
    """A task that leaves an orphan behind leaves no zombie."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:orphan")) as project:
        project.up("master", "worker", scale=1)
        assert put_and_get(project, None) == "0"


def test_a_key_of_ones_own_in_the_environment_wins(images: None) -> None:
    """`DISTQ_AUTHKEY` in `.env` or the shell is the key of master, workers and the client."""
    with stack(DISTQ_AUTHKEY=OWN_KEY) as project:
        project.up("master", "worker", scale=1)
        assert project.authkey() == OWN_KEY
        assert set(project.client_on_the_host(10, OWN_KEY)) == SQUARES
        assert set(project.compose("run", "--rm", "client").splitlines()) == SQUARES | set(OWN_SQUARES)


def test_a_key_of_ones_own_in_a_file_wins(images: None, tmp_path: Path) -> None:
    """`DISTQ_AUTHKEY_FILE` names a file of the host, which is mounted in the place of the master's own."""
    path = tmp_path / "my.key"
    path.write_text(OWN_KEY + "\n")
    path.chmod(0o644)
    with stack(DISTQ_AUTHKEY_FILE=str(path)) as project:
        project.up("master", "worker", scale=1)
        assert project.authkey() == OWN_KEY
        assert set(project.client_on_the_host(10, OWN_KEY)) == SQUARES
