"""Fixtures that build the images for these tests once from this tree."""

import pytest
from tests.kit.shell import compose, run

EXAMPLE_IMAGE = "own-worker:0.1.0"


@pytest.fixture(name="images", scope="session")
def build_images() -> None:
    """Build both images with `docker compose build`, and the example's image from one of them."""
    compose("build")
    run("docker", "build", "--quiet", "--tag", EXAMPLE_IMAGE, "examples/own-tasks")
