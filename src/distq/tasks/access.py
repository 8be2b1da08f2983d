"""How code that runs in a worker reaches the worker's master: a client made there needs no settings of its own.

The executor gets it by a pipe and sets it here, in its own memory. It is not in the environment, so programs that a
task starts do not have it; processes that a task forks do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class MasterAccess(NamedTuple):
    """Where a worker's master is, its key, and what the worker's settings say of connections to it."""

    addresses: tuple[tuple[str, int], ...]
    authkey: bytes
    frame_bytes_max: int
    payload_bytes_max: int
    reconnect_max_s: float


access: MasterAccess | None = None
"""Set by the executor; None anywhere else."""
task_running: Callable[[], str] = str
"""Gives the id of the task whose code runs here, '' if none does; set by the executor."""
