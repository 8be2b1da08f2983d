"""How code that runs in a worker reaches the worker's master: a client made there needs no settings of its own.

The executor gets it by a pipe and sets it here, in its own memory. It is not in the environment, so programs that a
task starts do not have it; processes that a task forks do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class MasterAccess(NamedTuple):
    """Where a worker's master is, its key, and what the worker's settings say of connections to it."""

    addresses: tuple[tuple[str, int], ...]
    authkeys: tuple[bytes, ...]
    frame_bytes_max: int
    payload_bytes_max: int
    reconnect_max_s: float
    tls: tuple[str | None, str | None, str | None, str | None] | None = None
    """The files of the certificate, its key and the CA, and the name of the master's certificate; None without TLS."""
    signing_keys: tuple[bytes, ...] = ()
    encryption_keys: tuple[bytes, ...] = ()
    unsigned: str = "refuse"
    accept: str = "pickle"
    key_files: Mapping[str, str] = {}
    """The paths of the files from which keys were read, by the fields of the settings."""


access: MasterAccess | None = None
"""Set by the executor; None anywhere else."""
worker_slots: int = 1
"""How many tasks the worker of this process runs at the same time; set by the executor."""
task_running: Callable[[], str] = str
"""Gives the id of the task whose code runs here, '' if none does; set by the executor."""
note_submit: Callable[[Any, Any], object] | None = None
"""Called with the future and the outbox of each submit that code of a task makes; set by the executor, None anywhere
else."""
flush: Callable[[float], object] | None = None
"""Waits until the master has answered the submits of this process's clients, at most that many seconds; set by the
client's code, None in a process that has not imported it."""
