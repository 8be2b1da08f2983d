"""The Dockerfiles of the pages: each builds an image of tasks, which a worker can import."""

from pathlib import Path

import pytest
from tests.docs.blocks import BLOCKS, Block
from tests.kit.engine.stack import ON_IMAGES
from tests.kit.shell import run

pytestmark = ON_IMAGES

IMAGE = "distq-test-dockerfile:1"
READS_AS = {"pillow": "python-dotenv"}
"""Packages of the pages without a wheel for each Python, and those that stand for them."""
DOCKERFILES = [block for block in BLOCKS if block.language == "dockerfile"]


@pytest.mark.parametrize("block", DOCKERFILES, ids=lambda block: f"{block.page}-{block.line}")
def test_a_dockerfile_of_a_page_builds_an_image_of_tasks(images: None, block: Block, tmp_path: Path) -> None:
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
