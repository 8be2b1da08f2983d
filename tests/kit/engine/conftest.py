"""The images that the tests here run, built once from this tree."""

import pytest
from tests.kit.shell import compose, run

OWN_IMAGE = "own-worker:0.1.0"


@pytest.fixture(name="images", scope="session")
def build_images() -> None:
    """Both images, as `docker compose build` makes them, and the example's that is made from one."""
    compose("build")
    run("docker", "build", "--quiet", "--tag", OWN_IMAGE, "examples/own-tasks")
