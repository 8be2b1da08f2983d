"""Payloads of every size pass through the images, on the default base and on newer Pythons."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kit.engine.stack import ON_IMAGES, Stack, stack
from tests.kit.shell import BASE_IMAGE, run

from distq import QueueManager
from distq.demo import tasks as demo_tasks

pytestmark = ON_IMAGES

MEGABYTE = 1_000_000
SIZES = (60_000, 70_000, MEGABYTE, 20 * MEGABYTE)
"""Sizes below and above the size from which a pickle has several frames, and two large ones."""

IMAGES = {part: f"distq-test-{part}-on-another-python:1" for part in ("master", "worker")}

READ_NESTED_FRAME = """
import pickle, sys
frame = lambda text: b"\\x95" + len(text).to_bytes(8, "little") + text
nested = b"\\x80\\x04" + frame(frame(b"K\\x07") + b".")
try:
    read = pickle.loads(nested)
except pickle.UnpicklingError:
    read = "refused"
print("%d.%d" % sys.version_info[:2], read)
"""
"""A program that prints the interpreter's version, and how it reads a pickle whose frame contains another frame."""


def limits_of_32_mebibytes(folder: Path, images: Mapping[str, str] | None = None) -> Path:
    """Write a Compose file that accepts payloads of up to 32 MiB (default: 16 MiB), optionally with other images."""
    settings: dict[str, Any] = {"environment": {"DISTQ_PAYLOAD_BYTES_MAX": "32MiB"}}
    services = {part: {**settings, **({"image": images[part]} if images else {})} for part in ("master", "worker")}
    path = folder / "larger.yaml"
    path.write_text(json.dumps({"services": services}))
    return path


@pytest.fixture(autouse=True)
def _larger_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the containers' limit for the test's client too."""
    monkeypatch.setenv("DISTQ_PAYLOAD_BYTES_MAX", "32MiB")


def assert_that_sizes_go_through(project: Stack) -> None:
    """Check that payloads of each size pass through distq's client and through a standard-library program."""
    with project.client() as client:
        for size in SIZES:
            assert client.submit(demo_tasks.send, 0.0, bytes(size)).result(60) == size
    host, port = project.address("master", 9000).split(":")
    QueueManager.register("get_result_queue")
    manager = QueueManager((host, int(port)), project.authkey().encode())
    manager.connect()
    results = manager.get_result_queue()
    for size in SIZES:
        results.put(bytes(size))
        assert results.get(timeout=30) == bytes(size)


def test_tasks_and_plain_items_of_a_megabyte_and_of_twenty(tmp_path: Path) -> None:
    """The images on their default base accept a task of each size and an item of each size."""
    with stack(["compose.yaml", limits_of_32_mebibytes(tmp_path)]) as project:
        project.up("master", "worker", scale=1)
        assert_that_sizes_go_through(project)


@contextmanager
def base_with(version: str) -> Iterator[str]:
    """Yield the tag of a base image with the newest CPython of a minor version, built without a registry."""
    base = f"distq-test-python:{version}"
    run("tools/base-image.sh", version.removeprefix("3."), base, BASE_IMAGE)
    try:
        yield base
    finally:
        run("docker", "rmi", "--force", base, *IMAGES.values())


@pytest.mark.pythons
@pytest.mark.parametrize("version", ["3.13", "3.14", "3.15"])
def test_payloads_go_through_images_on_a_python_that_refuses_nested_frames(tmp_path: Path, version: str) -> None:
    """Compose builds master and worker on BASE: the newest 3.13, 3.14 and 3.15."""
    with base_with(version) as base:
        files = ["compose.yaml", limits_of_32_mebibytes(tmp_path, IMAGES)]
        with stack(files, BASE=base, BUILD_BASE=base) as project:
            project.compose("build", "master", "worker")
            project.up("master", "worker", scale=1)
            for service in IMAGES:
                assert project.exec(service, "python", "-c", READ_NESTED_FRAME).split() == [version, "refused"]
            assert_that_sizes_go_through(project)
