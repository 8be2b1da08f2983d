"""Payloads of every size go through the images that are shipped, on the Python that is in them."""

import json
from pathlib import Path

import pytest
from tests.kit.engine.stack import ON_IMAGES, stack

from distq import QueueManager
from distq.cli import demo_tasks

pytestmark = ON_IMAGES

MEGABYTE = 1_000_000
SIZES = (60_000, 70_000, MEGABYTE, 20 * MEGABYTE)
"""Below and above the size from which a pickle has several frames, and two that are large."""


@pytest.fixture
def larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Compose file that lets payloads of 20 MB in, as the client here does: the default ends at 16 MiB."""
    monkeypatch.setenv("DISTQ_PAYLOAD_BYTES_MAX", "32MiB")
    settings = {"environment": {"DISTQ_PAYLOAD_BYTES_MAX": "32MiB"}}
    path = tmp_path / "larger.yaml"
    path.write_text(json.dumps({"services": {"master": settings, "worker": settings}}))
    return path


def test_tasks_and_plain_items_of_a_megabyte_and_of_twenty(images: None, larger: Path) -> None:
    """Submitted by distq's client, and put and taken by a program of the standard library's kind."""
    with stack(["compose.yaml", larger]) as project:
        project.up("master", "worker", scale=1)
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
