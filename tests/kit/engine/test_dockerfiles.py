"""The Dockerfiles of the pages: each builds an image of tasks, which a worker can import."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.blocks import BLOCKS, Block
from tests.kit.engine.stack import ON_IMAGES
from tests.kit.shell import run

pytestmark = ON_IMAGES

OTHER_BASE = "python:3.13-slim-trixie"
IMAGE = "distq-test-dockerfile:1"
WITH_PIP = "distq-test-worker:3.13"
"""The worker on a base whose pip installs for its Python; the pip of the newest Debian is too old for CPython 3.15."""
READS_AS = {"FROM distq-worker:0.1.0\n": f"FROM {WITH_PIP}\n", "pillow": "python-dotenv"}
"""What stands for the worker's image, and for a package that has no wheel for each Python."""
DOCKERFILES = [block for block in BLOCKS if block.language == "dockerfile"]


@pytest.fixture(name="with_pip", scope="module")
def build_with_pip() -> Iterator[None]:
    """Build the worker on the other base."""
    bases = ["--build-arg", f"BASE={OTHER_BASE}", "--build-arg", f"BUILD_BASE={OTHER_BASE}"]
    run(
        "docker",
        "build",
        "--quiet",
        "--tag",
        WITH_PIP,
        "--file",
        "images/Dockerfile",
        "--target",
        "worker",
        *bases,
        ".",
    )
    yield
    run("docker", "rmi", "--force", WITH_PIP)


@pytest.mark.usefixtures("images", "with_pip")
@pytest.mark.parametrize("block", DOCKERFILES, ids=lambda block: f"{block.page}-{block.line}")
def test_a_dockerfile_of_a_page_builds_an_image_of_tasks(block: Block, tmp_path: Path) -> None:
    """It builds on the images of this tree; Python imports the module that DISTQ_TASKS names."""
    if "minimal" in block.code:
        run("docker", "compose", "build", "worker", VARIANT="minimal")
    code = block.code
    for name, other in READS_AS.items():
        code = code.replace(name, other)
    (tmp_path / "Dockerfile").write_text(code, encoding="utf-8")
    (module,) = {word.partition("=")[2] for word in code.split() if word.startswith("DISTQ_TASKS=")}
    *folders, name = module.split(".")
    package = tmp_path.joinpath(*folders)
    package.mkdir(parents=True)
    (package / f"{name}.py").write_text("print('imported')\n", encoding="utf-8")
    run("docker", "build", "--quiet", "--tag", IMAGE, str(tmp_path))
    try:
        command = ("docker", "run", "--rm", "--entrypoint", "python", IMAGE, "-c", f"import {module}")
        assert run(*command).strip() == "imported"
    finally:
        run("docker", "rmi", "--force", IMAGE)
