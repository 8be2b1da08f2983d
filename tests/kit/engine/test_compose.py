"""Tests of `docker compose up` on a real engine: the recipe's job, the key, replicas, lost tasks, and the end."""

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.engine.stack import ALL_BUT_GRAFANA, CLIENT, ON_IMAGES, Stack, inspect, metric, stack, with_test_tasks
from tests.kit.shell import fails, run, seconds_of, wait_for_value

pytestmark = ON_IMAGES

SQUARES = {str((number, number * number)) for number in range(10)}
CLIENT_SQUARES = [f"square({number}) is {number * number}" for number in range(10)]
FIRST_RESULT_WITHIN_S = 60
DISCOVERY_WITHIN_S = 15
GIVEN_KEY = "a-key-of-ones-own-that-is-long-enough"


@pytest.fixture(name="running", scope="module")
def run_stack(images: None) -> Iterator[Stack]:
    """Yield the project of compose.yaml without Grafana, for all tests that do not change it."""
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        yield project


def targets(project: Stack) -> dict[str, str]:
    """Return the health of every target that Prometheus scrapes, by job and address."""
    active = project.prometheus("targets", state="active")["activeTargets"]
    return {f"{target['labels']['job']} {target['labels']['instance']}": target["health"] for target in active}


def test_the_recipes_job_runs(running: Stack) -> None:
    """`docker compose run --rm client` prints its ten results, and then those of distq's client, in order."""
    output = running.compose("run", "--rm", "client").splitlines()
    assert set(output[:10]) == SQUARES
    assert output[10:] == CLIENT_SQUARES


def test_the_first_result_of_a_new_project_comes_within_a_minute(images: None) -> None:
    """Without volume and key, `up` and ten results through the published port take less than a minute."""
    with stack() as project:

        def first_result() -> None:
            project.up(*ALL_BUT_GRAFANA)
            assert set(project.client_on_the_host(10)) == SQUARES

        assert seconds_of(first_result) < FIRST_RESULT_WITHIN_S


def test_the_key_is_made_once_and_belongs_to_the_master(running: Stack) -> None:
    """Only distq's user reads the key's file; a new container of the master finds it and keeps it."""
    before = running.authkey()
    program = "import os, stat; s = os.stat('/etc/distq/authkey'); print(s.st_uid, s.st_mode)"
    uid, mode = map(int, running.exec("master", "python", "-c", program).split())
    assert uid == 65532
    assert stat.S_IMODE(mode) == 0o400
    running.compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "master")
    assert running.authkey() == before
    assert running.exec("worker", "distq", "key", "show").strip() == before


def test_the_key_is_only_in_its_file(running: Stack) -> None:
    """The key is neither in the engine's description of a container, nor in a process list, nor in the logs."""
    key = running.authkey()
    assert len(key) >= 32
    for service in ALL_BUT_GRAFANA:
        for container in running.containers(service):
            assert key not in json.dumps(inspect(container))
            assert key not in run("docker", "top", container)
    assert key not in running.compose("logs")


def test_only_distqs_containers_mount_the_key(running: Stack) -> None:
    """Prometheus mounts only its configuration, its data, and the place of the CA, which is empty without TLS."""
    mounts = {mount["Destination"] for mount in inspect(running.containers("prometheus")[0])["Mounts"]}
    assert mounts == {"/etc/prometheus", "/etc/rules", "/prometheus", "/etc/distq-tls"}


def test_containers_run_without_root_and_without_a_capability(running: Stack) -> None:
    """The kernel shows no capability in any set, none that could be gained, and only /tmp can be written to."""
    program = "print(open('/proc/self/status').read()); open('/opt/distq/new', 'w')"
    output = fails("docker", "exec", running.containers("worker")[0], "python", "-c", program)
    fields = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Uid"].split()[0] == "65532"
    assert "Read-only file system" in output


def test_prometheus_finds_every_replica_in_time(running: Stack) -> None:
    """After `--scale worker=5` Prometheus scrapes five workers within fifteen seconds, and later two again."""

    def workers_up(found: dict[str, str]) -> list[str]:
        return [name for name, health in found.items() if name.startswith("distq-worker") and health == "up"]

    running.up(*ALL_BUT_GRAFANA, scale=5)
    wait_for_value(lambda: targets(running), lambda found: len(workers_up(found)) == 5, DISCOVERY_WITHIN_S)
    running.up(*ALL_BUT_GRAFANA, scale=2)
    wait_for_value(lambda: targets(running), lambda found: len(workers_up(found)) == 2, DISCOVERY_WITHIN_S)


def put_and_get(project: Stack, item: Any) -> str:
    """Put one item through the published port, and return its result."""
    return put(project, item, "print(results.get(timeout=60))").strip()


def put(project: Stack, item: Any, then: str = "") -> str:
    """Put one item through the published port, then run a line of Python that may use `results`."""
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
    """Return the ids of the worker containers in which a task runs."""
    busy = 'distq_worker_executors{pool="default",state="busy"}'
    return [container for container in project.containers("worker") if metric(container, busy)]


def test_docker_compose_stop_drains_and_loses_nothing(images: None, tmp_path: Path) -> None:
    """`docker compose stop worker` lets the running task end; its result arrives, and every exit code is 0."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:nap")) as project:
        project.up("master", "worker", scale=1)
        put(project, 4)
        wait_for_value(lambda: busy_workers(project), bool, within_s=20)
        project.compose("stop", "worker")
        worker = inspect(project.containers("worker")[0])["State"]
        assert (worker["ExitCode"], worker["OOMKilled"]) == (0, False)
        assert put(project, 0, "print(results.get(timeout=10))").strip() == "rested"
        project.compose("stop", "master")
        assert inspect(project.containers("master")[0])["State"]["ExitCode"] == 0


def test_a_killed_worker_loses_nothing_(images: None, tmp_path: Path) -> None:
    """After `kill -9` of a container another worker runs its task."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:nap")) as project:
        project.up("master", "worker", scale=2)
        put(project, 6)
        [busy] = wait_for_value(lambda: busy_workers(project), bool, within_s=20)
        run("docker", "kill", "--signal", "KILL", busy)
        assert put(project, 0, "print(results.get(timeout=60), results.get(timeout=60))").split() == ["rested"] * 2


def test_process_one_reaps_zombies(images: None, tmp_path: Path) -> None:
    """A task that leaves an orphan behind leaves no zombie."""
    with stack(with_test_tasks(tmp_path, DISTQ_PLAIN_HANDLER="tasks.test:orphan")) as project:
        project.up("master", "worker", scale=1)
        assert put_and_get(project, None) == "0"


def test_a_key_in_the_environment_wins(images: None) -> None:
    """`DISTQ_AUTHKEY` in `.env` or the shell is the key of master, workers and the client."""
    with stack(DISTQ_AUTHKEY=GIVEN_KEY) as project:
        project.up("master", "worker", scale=1)
        assert project.authkey() == GIVEN_KEY
        assert set(project.client_on_the_host(10, GIVEN_KEY)) == SQUARES
        assert set(project.compose("run", "--rm", "client").splitlines()) == SQUARES | set(CLIENT_SQUARES)


def test_a_key_in_a_file_of_the_host_wins(images: None, tmp_path: Path) -> None:
    """`DISTQ_AUTHKEY_FILE` names a file of the host, which is mounted in place of the master's key file."""
    path = tmp_path / "my.key"
    path.write_text(GIVEN_KEY + "\n")
    path.chmod(0o644)
    with stack(DISTQ_AUTHKEY_FILE=str(path)) as project:
        project.up("master", "worker", scale=1)
        assert project.authkey() == GIVEN_KEY
        assert set(project.client_on_the_host(10, GIVEN_KEY)) == SQUARES
