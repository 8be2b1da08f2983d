"""The configuration that a supervisor sends to each executor, through an inherited pipe.

It is never in arguments or in the environment. The pipe's other end stays open in the supervisor, so its end of file
shows the executor that the supervisor has ended.
"""

import os
import pickle
from collections.abc import Mapping
from typing import NamedTuple

from distq.net.tls_files import TlsFiles
from distq.wire.framing import Framer, pack

CONFIG_BYTES_MAX = 60_000
"""Maximum bytes of a configuration: less than a pipe's capacity, so that the supervisor writes it without waiting."""


class ExecutorConfig(NamedTuple):
    """The configuration of one executor."""

    addresses: tuple[tuple[str, int], ...]
    authkeys: tuple[bytes, ...]
    worker: str
    session: str
    number: int
    """The executor's number in its worker, never used twice, so that an end belongs to exactly one executor."""
    handler: str
    """The plain handler, as `module:function`; '' for none."""
    executor: str
    """The kind of the executor, one of `distq.core.option_values.EXECUTORS`."""
    executor_slots: int
    """Maximum tasks that the executor runs at the same time."""
    modules: tuple[str, ...]
    """The modules that the executor imports before the first task."""
    accept: str
    max_tasks: int | None
    """Maximum tasks that the executor runs before it ends."""
    max_rss_bytes: int | None
    """Maximum bytes of resident memory; an executor that uses more ends after its task."""
    supervisor_pid: int
    frame_bytes_max: int
    payload_bytes_max: int
    reconnect_max_s: float
    verbose: bool
    """Whether the executor reports tasks that succeed too."""
    schedules: str = "keep"
    """How the worker treats the schedules that the modules declare (DISTQ_SCHEDULES)."""
    started_at: float = 0.0
    """When the worker was started, by the machine's monotonic clock."""
    log_level: int = 20
    """The lowest level of Python's logging at which tasks log."""
    captures: bool = True
    """Whether prints and logging of tasks go to the supervisor."""
    worker_slots: int = 1
    """Maximum tasks that all executors of the worker run at the same time."""
    tls: TlsFiles | None = None
    """The files with which the executor connects; None without TLS."""
    signing_keys: tuple[bytes, ...] = ()
    encryption_keys: tuple[bytes, ...] = ()
    unsigned: str = "refuse"
    """What becomes of bodies without a signature (DISTQ_UNSIGNED)."""
    key_files: Mapping[str, str] = {}
    """The paths of the files from which keys were read, by their fields; the executor reads them after a change."""


def write_config(fd: int, config: ExecutorConfig) -> None:
    """Write the configuration to a pipe; called by the supervisor."""
    os.write(fd, pack(pickle.dumps(tuple(config))))


def read_config(fd: int) -> ExecutorConfig:
    """Read the configuration from a pipe; called once by the executor.

    Raises:
        EOFError: the supervisor ended before it had written the configuration.
    """
    framer = Framer(CONFIG_BYTES_MAX)
    while True:
        data = os.read(fd, CONFIG_BYTES_MAX)
        if not data:
            raise EOFError("the supervisor is gone")
        for frame in framer.feed(data):
            return ExecutorConfig(*pickle.loads(frame))
