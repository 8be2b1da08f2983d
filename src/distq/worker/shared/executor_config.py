"""What a supervisor hands to each executor: through an inherited pipe, never by arguments or environment.

The pipe's other end stays open in the supervisor, so its end of file tells the executor that the supervisor
is gone.
"""

import os
import pickle
from typing import NamedTuple

from distq.wire.framing import Framer, pack

CONFIG_BYTES_MAX = 60_000
"""Below a pipe's capacity: the supervisor writes them without waiting for a reader."""


class ExecutorConfig(NamedTuple):
    """All that an executor needs to know."""

    addresses: tuple[tuple[str, int], ...]
    authkey: bytes
    worker: str
    session: str
    number: int
    """The executor's number in its worker, never used twice: an end is not taken for another executor's."""
    handler: str
    """The plain handler, as `module:function`; '' for none."""
    executor: str
    """What kind of executor it is, of `distq.core.envelope.EXECUTORS`, and ..."""
    executor_slots: int
    """... how many tasks it runs at once."""
    modules: tuple[str, ...]
    """What to import before the first task."""
    accept: str
    max_tasks: int | None
    """After how many tasks the executor ends."""
    max_rss_bytes: int | None
    """With how much resident memory it ends."""
    supervisor_pid: int
    frame_bytes_max: int
    payload_bytes_max: int
    reconnect_max_s: float
    verbose: bool
    """Whether tasks that succeed are reported too."""
    schedules: str = "keep"
    """What becomes of schedules that the modules declare (DISTQ_SCHEDULES)."""
    started_at: float = 0.0
    """When the worker was started, by the machine's monotonic clock."""
    log_level: int = 20
    """The least level of Python's logging that tasks log at."""
    captures: bool = True
    """Whether prints and logging of tasks go to the supervisor."""


def write_config(fd: int, config: ExecutorConfig) -> None:
    """Write the configuration to a pipe; called by the supervisor."""
    os.write(fd, pack(pickle.dumps(tuple(config))))


def read_config(fd: int) -> ExecutorConfig:
    """Read the configuration from a pipe; called once by the executor.

    Raises:
        EOFError: the supervisor ended before it had written them.
    """
    framer = Framer(CONFIG_BYTES_MAX)
    while True:
        data = os.read(fd, CONFIG_BYTES_MAX)
        if not data:
            raise EOFError("the supervisor is gone")
        for frame in framer.feed(data):
            return ExecutorConfig(*pickle.loads(frame))
