"""The commands in the head of compose.yaml, in every order: none changes what another one has set."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.engine.stack import ALL_BUT_GRAFANA, ON_IMAGES, Stack, stack
from tests.tidy.tree import ROOT

pytestmark = ON_IMAGES

COMMAND = re.compile(r"^#   docker compose (.+?)(?:  .*)?$", re.MULTILINE)
WORKERS = 3


def head_commands() -> dict[str, list[str]]:
    """Return the commands of the head that act on a running project, by their text."""
    head = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    return {line: line.split() for line in COMMAND.findall(head)}


def every_pair(lines: list[str]) -> list[str]:
    """Return the lines in an order in which each follows each, itself included (Hierholzer's circuit)."""
    following = {line: list(lines) for line in lines}
    path, circuit = [lines[0]], []
    while path:
        if following[path[-1]]:
            path.append(following[path[-1]].pop())
        else:
            circuit.append(path.pop())
    return circuit


@pytest.fixture(name="project")
def run_project(tmp_path: Path) -> Iterator[Stack]:
    """Yield a project in a separate folder, whose `.env` asks for three workers."""
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    for folder in ("deploy", "helm"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / ".env").write_text(f"WORKER_REPLICAS={WORKERS}\n", encoding="utf-8")
    with stack(folder=tmp_path) as project:
        yield project


def running(project: Stack) -> list[str]:
    """Return the ids of the running worker containers."""
    return project.compose("ps", "--quiet", "worker").split()


def test_no_command_of_the_head_changes_the_number_of_workers(project: Stack) -> None:
    """Every command runs after every other: up, the demo's load, the client, the key."""
    commands = head_commands()
    runnable = [line for line in commands if line.startswith(("up", "run", "exec"))]
    assert len(runnable) >= 4, runnable
    project.up(*ALL_BUT_GRAFANA)
    for line in every_pair(runnable):
        arguments = commands[line]
        project.compose(*arguments, *(ALL_BUT_GRAFANA if arguments[-1] == "--wait" else ()))
        assert len(running(project)) == WORKERS, line


def test_a_scale_of_the_command_line_outlives_the_client_and_the_demo(project: Stack) -> None:
    """After `up --scale worker=N`, client and demo run and leave the N workers, with N below and above the default."""
    for scale in (1, 4):
        project.up("master", "worker", scale=scale)
        for line, arguments in head_commands().items():
            if line.startswith(("run", "exec")) or arguments[-1] == "demo":
                project.compose(*arguments)
                assert len(running(project)) == scale, line


def test_the_commands_that_end_the_project_leave_nothing(project: Stack) -> None:
    """They also remove the demo's container, which belongs to a profile."""
    commands = [arguments for arguments in head_commands().values() if arguments[:2] == ["--profile", "demo"]]
    assert [arguments[2] for arguments in commands] == ["stop", "down"]
    project.up("master", "worker")
    project.compose("up", "--detach", "demo")
    assert project.volumes()
    stop, down = commands
    project.compose(*stop)
    assert project.compose("ps", "--quiet").split() == []
    project.compose(*down)
    assert project.compose("ps", "--all", "--quiet").split() == []
    assert project.volumes() == []
