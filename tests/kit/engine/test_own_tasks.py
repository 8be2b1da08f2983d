"""A user's tasks in Compose's workers: by a mounted folder, by an image of three lines, by queues."""

import sys

import pytest
from tests.kit.engine.conftest import EXAMPLE_IMAGE
from tests.kit.engine.stack import ON_IMAGES, inspect, stack
from tests.kit.shell import run
from tests.tidy.tree import ROOT

pytestmark = ON_IMAGES


@pytest.mark.parametrize("way", ["mounted", "image"])
def test_a_users_tasks_run_from_a_folder_and_from_an_image(images: None, way: str) -> None:
    """Both ways of examples/own-tasks run with the example's client; each executor has imported the module."""
    with stack(["compose.yaml", f"examples/own-tasks/{way}.yaml"]) as project:
        project.up("master", "worker", scale=1)
        image = inspect(project.containers("worker")[0])["Config"]["Image"]
        assert (image == EXAMPLE_IMAGE) == (way == "image")
        output = run(
            sys.executable,
            "examples/own-tasks/client.py",
            "to be or not to be",
            "no no yes",
            DISTQ_ADDRESS=project.address("master", 9000),
            DISTQ_AUTHKEY=project.authkey(),
        )
        assert output.splitlines() == ["to", "no", "{'to': 2, 'be': 2, 'or': 1, 'not': 1}"]
        assert '"modules":["tasks.words"]' in project.compose("logs", "worker").replace(" ", "")
        assert set(project.client_on_the_host(3)) == {"(0, 0)", "(1, 1)", "(2, 4)"}


def test_a_users_image_has_three_lines() -> None:
    """The Dockerfile has `FROM`, `COPY` and `ENV`."""
    lines = (ROOT / "examples" / "own-tasks" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["FROM", "COPY", "ENV"]
