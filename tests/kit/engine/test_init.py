"""A project of `distq init` in Compose, with the images of this tree."""

import sys
from pathlib import Path

from tests.kit.engine.stack import ON_IMAGES, Stack, stack
from tests.kit.shell import run

from distq.cli.app import run as distq

pytestmark = ON_IMAGES
PRINTED = ["to be or not to be: 6 words", "that is the question: 4 words"]


def printed(folder: Path, project: Stack) -> list[str]:
    """Return the lines that the project's program prints on this machine, with the key of .env."""
    address = project.address("master", 9000)
    return run("env", "-C", folder, sys.executable, "program.py", DISTQ_ADDRESS=address).splitlines()


def test_a_new_project_runs_in_compose(tmp_path: Path) -> None:
    """Its compose.yaml starts the images with the key of .env, and its program prints the results.

    The folder's name has a space and letters that a Compose project cannot have. After another key was written into
    .env, `up` gives it to master and workers.
    """
    folder = tmp_path / "my größte-jobs"
    assert distq(["init", str(folder)]) == 0
    assert "name: mygrte-jobs\n" in run("docker", "compose", "--project-directory", folder, "config")
    with stack(folder=folder) as project:
        project.up()
        assert len(project.containers("worker")) == 2
        assert printed(folder, project) == PRINTED
        (folder / ".env").write_text((folder / ".env").read_text().replace("AUTHKEY=", "AUTHKEY=another-"))
        project.up()
        assert project.authkey().startswith("another-")
        assert printed(folder, project) == PRINTED
