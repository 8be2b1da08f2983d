"""The function that a worker runs for `joblib.Parallel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run_batch(batch: Callable[[], list[Any]]) -> list[Any]:
    """Run a batch of calls that joblib has made; returns the list of their results."""
    return batch()
