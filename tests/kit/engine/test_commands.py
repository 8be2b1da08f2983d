"""The commands of compose.yaml's head, one after another in every order: none changes what another one has set."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.engine.stack import ON_IMAGES, Stack, stack
from tests.kit.shell import ROOT

pytestmark = ON_IMAGES

COMMAND = re.compile(r"^#   docker compose (.+?)(?:  .*)?$", re.MULTILINE)
WORKERS = 3
SHORT_OF_GRAFANA = ("master", "worker", "prometheus")
"""What `up` is asked for here, where an image of Grafana may not be at hand."""


def head_commands() -> dict[str, list[str]]:
    """The commands of the head that are about a running project, by their first words."""
    head = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    return {line: line.split() for line in COMMAND.findall(head)}


def every_pair(words: list[str]) -> list[str]:
    """The words in an order in which each comes right after each, itself included (Hierholzer's circuit)."""
    left = {word: list(words) for word in words}
    path, circuit = [words[0]], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            circuit.append(path.pop())
    return circuit


@pytest.fixture(name="project")
def run_project(tmp_path: Path) -> Iterator[Stack]:
    """A project in a folder of its own, whose `.env` asks for three workers."""
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    for folder in ("deploy", "helm"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / ".env").write_text(f"WORKER_REPLICAS={WORKERS}\n", encoding="utf-8")
    with stack(folder=tmp_path) as project:
        yield project


def running(project: Stack) -> list[str]:
    """The containers of workers that run."""
    return project.compose("ps", "--quiet", "worker").split()


def test_no_command_of_the_head_changes_how_many_workers_there_are(project: Stack) -> None:
    """Each after each: up, the demo's load, the client, the key."""
    commands = head_commands()
    told = [line for line in commands if line.startswith(("up", "run", "exec"))]
    assert len(told) >= 4, told
    project.up(*SHORT_OF_GRAFANA)
    for line in every_pair(told):
        words = commands[line]
        project.compose(*words, *(SHORT_OF_GRAFANA if words[-1] == "--wait" else ()))
        assert len(running(project)) == WORKERS, line


def test_a_scale_of_the_moment_outlives_the_client_and_the_demo(project: Stack) -> None:
    """`up --scale worker=1`: the client's results come, and there is still one worker; four are left alone too."""
    for scale in (1, 4):
        project.up("master", "worker", scale=scale)
        for line, words in head_commands().items():
            if line.startswith(("run", "exec")) or words[-1] == "demo":
                project.compose(*words)
                assert len(running(project)) == scale, line


def test_the_commands_that_end_it_leave_nothing(project: Stack) -> None:
    """Not the demo's container either, which belongs to a profile."""
    commands = [words for line, words in head_commands().items() if line.split()[2:3] in (["stop"], ["down"])]
    assert [words[2] for words in commands] == ["stop", "down"]
    project.up("master", "worker")
    project.compose("up", "--detach", "demo")
    assert project.volumes()
    stop, down = commands
    project.compose(*stop)
    assert project.compose("ps", "--quiet").split() == []
    project.compose(*down)
    assert project.compose("ps", "--all", "--quiet").split() == []
    assert project.volumes() == []
