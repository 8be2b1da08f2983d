"""distq with its default settings and a store in a file: every accepted task is on the disk, with a sync."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.system import ROOT, System
from benchmarks.peers.systems import distq_memory

TITLE = "distq, durable"
SETTINGS = "DISTQ_STORE=sqlite:///..., which syncs every commit; one worker with --concurrency 2"


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start a master and a worker."""
    with (
        tempfile.TemporaryDirectory(prefix="distq-bench-", dir=ROOT) as folder,
        distq_memory.running(workers, f"sqlite:///{Path(folder) / 'tasks.db'}") as system,
    ):
        yield system
