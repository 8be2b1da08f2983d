"""A project of `distq init` in Compose, with the images of this tree."""

import sys
from pathlib import Path

from tests.kit.engine.stack import ON_IMAGES, stack
from tests.kit.shell import run

from distq.cli.app import run as distq

pytestmark = ON_IMAGES


def test_a_new_project_runs_in_compose(tmp_path: Path) -> None:
    """Its compose.yaml starts the images with the key of .env, and its program prints the results."""
    assert distq(["init", str(tmp_path / "jobs")]) == 0
    with stack(folder=tmp_path / "jobs") as project:
        project.up()
        assert len(project.containers("worker")) == 2
        address = project.address("master", 9000)
        output = run("env", "-C", tmp_path / "jobs", sys.executable, "program.py", DISTQ_ADDRESS=address)
        assert output.splitlines() == [
            "to be or not to be: 6 words",
            "that is the question: 4 words",
        ]
