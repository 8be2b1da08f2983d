"""The function that a worker runs for `joblib.Parallel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distq.contrib.joblib.fetched_arrays import ArrayReference, read_batch
from distq.contrib.joblib.threads import bounded_threads

Batch = Callable[[], list[Any]]


def run_batch(batch: Batch | bytes, arrays: Sequence[ArrayReference] = (), threads: int | None = None) -> list[Any]:
    """Run a batch of calls that joblib has made; returns the list of their results.

    Args:
        batch: the batch; as bytes if it uses arrays that it shares with other batches.
        arrays: references to these arrays.
        threads: maximum threads of each library that the calls use; by default the CPUs for each slot of the worker.
    """
    calls = read_batch(batch, arrays) if isinstance(batch, bytes) else batch
    with bounded_threads(threads):
        return calls()
