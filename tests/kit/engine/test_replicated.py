"""Tests of the profile `replicated` on a real engine: three masters on a PostgreSQL server with a standby.

The image of the server is made of the one of this machine, with the user, the folders and the PATH of the official one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.engine.stack import ON_IMAGES, Stack, inspect, metric, stack
from tests.kit.engine.test_commands import head_commands
from tests.kit.engine.test_compose import CLIENT_SQUARES, SQUARES
from tests.kit.engine.test_durable import wait_until_done
from tests.kit.shell import TASKS, CommandFailed, fails, run, seconds_of, wait_for_value
from tests.tidy.tree import ROOT

import distq

pytestmark = [*ON_IMAGES, pytest.mark.postgresql]

DATABASE_IMAGE = "distq-test-postgresql:1"
UP = "--profile replicated up --detach --wait --scale master=0 --scale worker=0"
CLIENT = "--profile replicated run --rm replicated-client"
STOP = "--profile replicated stop"
MASTERS = ("master-1", "master-2", "master-3")
SERVERS = ("database", "database-standby")
LOAD = 400
NAP_S = 0.1
NEW_LEADER_WITHIN_S = 10
"""A killed leader's place is taken in a fraction of a second; Docker and a busy machine need the rest."""


@pytest.fixture(name="database_image", scope="module")
def make_database_image() -> None:
    """Make the image of the database's servers."""
    run("tools/postgresql-image.sh", DATABASE_IMAGE)


@pytest.fixture(name="replicated")
def several_masters(images: None, database_image: None, tmp_path: Path) -> Iterator[Stack]:
    """Yield three masters, two workers with the tests' tasks and Prometheus, started by the command of the pages."""
    worker = {
        "volumes": [f"{TASKS}:/app/tasks/test.py:ro"],
        "environment": {"DISTQ_TASKS": "tasks.test,distq.demo.tasks"},
    }
    services: dict[str, dict[str, Any]] = {name: {"image": DATABASE_IMAGE} for name in SERVERS}
    services |= {"replicated-worker": worker, "grafana": {"profiles": ["its image may not be available"]}}
    path = tmp_path / "replicated.yaml"
    path.write_text(json.dumps({"services": services}))
    with stack(["compose.yaml", path]) as project:
        project.compose("--profile", "replicated", "build")
        start(project)
        yield project


def start(project: Stack) -> None:
    """Start the profile without the one master, and wait until everything is healthy."""
    project.compose(*UP.split())


def leaders(project: Stack) -> list[str]:
    """Return the names of the masters that run and lead."""
    running = [name for name in MASTERS if project.compose("ps", "--quiet", name)]
    return [name for name in running if metric(project.containers(name)[0], "distq_leader ") == 1]


def the_leader(project: Stack) -> str:
    """Wait until exactly one master leads, and return its name."""
    return wait_for_value(lambda: leaders(project), lambda found: len(found) == 1, NEW_LEADER_WITHIN_S)[0]


def client_of(project: Stack) -> distq.Client:
    """Return a client on this machine that knows the published ports of all masters."""
    addresses = ",".join(project.address(name, 9000) for name in MASTERS)
    return distq.Client(addresses, project.exec(MASTERS[0], "distq", "key", "show").strip())


def counts(project: Stack, master: str) -> dict[str, int]:
    """Return the number of tasks by state, as a leading master counts them."""
    look = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9001/api/v1/overview').read().decode())"
    found: dict[str, int] = json.loads(project.exec(master, "python", "-c", look))["tasks"]
    return found


def server(project: Stack, name: str, command: str) -> str:
    """Return the output of a command of a database server's script."""
    return project.exec(name, "sh", "/server.sh", command)


def health(project: Stack, name: str) -> str:
    """Return what the check of a server's health says, '' if it is well."""
    try:
        return server(project, name, "health")
    except CommandFailed as failed:
        return str(failed)


def is_well(found: str) -> bool:
    """Whether a check of a server's health has passed."""
    return not found


def kill(project: Stack, name: str) -> None:
    """Kill a container; Docker does not start it again."""
    run("docker", "kill", "--signal", "KILL", *project.containers(name))


def all_of_them(project: Stack) -> list[str]:
    """Return the ids of all containers of the project."""
    return project.compose("--profile", "*", "ps", "--all", "--quiet").split()


def test_a_server_that_does_not_answer_is_not_healthy(database_image: None) -> None:
    """Masters start only after both servers are healthy: a check that cannot ask the server fails."""
    script = f"{ROOT}/deploy/postgresql/server.sh:/server.sh:ro"
    options = ("--rm", "--user", "postgres", "--env", "SERVER=database", "--env", "PEER=database-standby")
    output = fails("docker", "run", *options, "--volume", script, DATABASE_IMAGE, "sh", "/server.sh", "health")
    assert "Is the server running" in output


def test_one_of_three_masters_leads_and_the_password_is_a_secret(replicated: Stack) -> None:
    """The client gets its squares, Prometheus sees everything, no worker reads the password, `stop` drains."""
    leader = the_leader(replicated)
    assert not replicated.containers("master")
    wait_for_value(
        lambda: metric(replicated.containers(leader)[0], "distq_standby_masters "), lambda found: found == 2, 20
    )
    assert health(replicated, "database") == health(replicated, "database-standby") == ""

    output = replicated.compose(*CLIENT.split()).splitlines()
    assert set(output[:10]) == SQUARES
    assert output[10:] == CLIENT_SQUARES

    jobs = {"distq-replicated-master": 3, "distq-replicated-worker": 2}

    def healthy_targets() -> dict[str, int]:
        active = replicated.prometheus("targets", state="active")["activeTargets"]
        names = [target["labels"]["job"] for target in active if target["health"] == "up"]
        return {name: names.count(name) for name in names}

    wait_for_value(healthy_targets, lambda found: found == jobs, 30)

    password = replicated.exec("database", "cat", "/run/postgresql/password").strip()
    assert len(password) >= 64
    for container in all_of_them(replicated):
        assert password not in json.dumps(inspect(container))
        assert password not in run("docker", "top", container)
    assert password not in replicated.compose("--profile", "*", "logs")
    worker = replicated.containers("replicated-worker")[0]
    assert "No such file" in fails("docker", "exec", worker, "python3", "-c", "open('/etc/distq-database/password')")

    replicated.compose(*STOP.split())
    names = (*MASTERS, "replicated-worker", *SERVERS)
    codes = {name: inspect(replicated.containers(name)[0])["State"]["ExitCode"] for name in names}
    assert codes == dict.fromkeys(names, 0)


def test_the_head_of_the_file_has_the_commands_of_these_tests() -> None:
    """A reader who copies them gets what is tested here."""
    assert {UP, CLIENT, STOP} <= head_commands().keys()


def test_p1_a_killed_leader_loses_nothing(replicated: Stack) -> None:
    """`docker kill` of the leader under load: another master leads, and each task has its one result."""
    first = the_leader(replicated)
    with client_of(replicated) as client:
        futures = [client.submit_named("nap", [NAP_S]) for _ in range(LOAD)]
        assert client.flush(60)
        wait_until_done(futures, LOAD // 5)
        next_one: list[distq.TaskFuture[Any]] = []

        def kill_and_submit() -> None:
            kill(replicated, first)
            next_one.append(client.submit_named("nap", [0]))
            assert client.flush(60)

        gap_s = seconds_of(kill_and_submit)
        assert not all(future.done() for future in futures), "it was to happen in mid-load"
        assert next_one[0].result(120) == "rested"
        assert [future.result(120) for future in futures] == ["rested"] * LOAD
    second = the_leader(replicated)
    assert second != first
    print(f"from the call of `docker kill` to the next accepted submit: {gap_s:.2f} s")
    assert gap_s < NEW_LEADER_WITHIN_S
    done = {"ready": 0, "held": 0, "delayed": 0, "leased": 0, "dead": 0, "results": LOAD + 1}
    assert counts(replicated, second) == done
    start(replicated)
    wait_for_value(
        lambda: metric(replicated.containers(second)[0], "distq_standby_masters "), lambda found: found == 2, 20
    )


def test_p1_a_lost_database_server_is_replaced_and_loses_nothing(replicated: Stack) -> None:
    """Commits wait for a lost standby and say so; a promoted one has every task; a replaced server never comes back."""
    with client_of(replicated) as client:
        before = client.submit_named("nap", [0])
        assert before.result(60) == "rested"

        kill(replicated, "database-standby")
        assert "commits wait" in wait_for_value(lambda: health(replicated, "database"), lambda found: found != "", 30)
        waiting = client.submit_named("nap", [0])
        assert not client.flush(3)
        server(replicated, "database", "alone")
        assert waiting.result(60) == "rested"
        assert health(replicated, "database") == ""

        replicated.compose("up", "--detach", "database-standby")
        wait_for_value(lambda: health(replicated, "database-standby"), is_well, 60)
        server(replicated, "database", "paired")
        wait_for_value(lambda: health(replicated, "database"), is_well, 30)
        refused = fails("docker", "exec", *replicated.containers("database-standby"), "sh", "/server.sh", "promote")
        assert "Stop it first" in refused

        later = [client.submit_named("nap", [0]) for _ in range(LOAD)]
        assert client.flush(60)
        kill(replicated, "database")
        server(replicated, "database-standby", "promote")
        assert [future.result(120) for future in later] == ["rested"] * LOAD
    assert counts(replicated, the_leader(replicated))["results"] == LOAD + 2

    replicated.compose("up", "--detach", "database")
    wait_for_value(
        lambda: replicated.compose("logs", "database"), lambda text: "database-standby was promoted" in text, 60
    )
    replicated.compose("rm", "--stop", "--force", "database")
    run("docker", "volume", "rm", f"{replicated.name}_database")
    replicated.compose("up", "--detach", "database")
    wait_for_value(lambda: health(replicated, "database"), is_well, 60)
    server(replicated, "database-standby", "paired")
    wait_for_value(lambda: health(replicated, "database-standby"), is_well, 30)
    start(replicated)
    with client_of(replicated) as client:
        assert client.submit_named("nap", [0]).result(60) == "rested"
