"""Tests of frames that hold only a few results: no result that fits alone is lost, in either direction."""

from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster

import distq

RESULT_BYTES = 100 << 10
COUNT = 40


def large(_: int) -> bytes:
    """Return a result of which five fit a frame."""
    return b"x" * RESULT_BYTES


def larger(_: int) -> bytes:
    """Return a result that is valid but larger than a frame."""
    return b"x" * (600 << 10)


def in_parts(count: int) -> Iterator[bytes]:
    """Return the same as a stream."""
    for _ in range(count):
        yield b"x" * RESULT_BYTES


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_results_and_parts_travel_in_batches_that_fit_a_frame(grid: Cluster, executor: str) -> None:
    """From executor to master, and from master to client; a result that fits no frame fails alone, once."""
    small = {"DISTQ_FRAME_BYTES_MAX": "512KiB", "DISTQ_PAYLOAD_BYTES_MAX": "300KiB"}
    grid.master(**small)
    worker = grid.run("worker", "--executor", executor, DISTQ_FRAME_BYTES_MAX="2MiB", DISTQ_PAYLOAD_BYTES_MAX="1MiB")
    with grid.client() as client:
        futures = [client.submit(large, n) for n in range(COUNT)]
        refused = client.submit(larger, 1)
        assert [len(future.result(20)) for future in futures] == [RESULT_BYTES] * COUNT
        assert sum(map(len, client.submit(in_parts, COUNT).stream(timeout=20))) == COUNT * RESULT_BYTES
        with pytest.raises(distq.ResultNotSent, match="DISTQ_FRAME_BYTES_MAX"):
            refused.result(20)
    assert worker.events("task_failed") == []
