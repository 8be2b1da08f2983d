"""The limit of files and connections that this process may have open: raise it, and check that it suffices."""

import resource
from typing import Final

from distq.core.errors import DistqError
from distq.core.plurals import counted

UNLIMITED_TARGET: Final = 1 << 20
"""Limit of descriptors that a process requests where the system sets no limit."""
OWN_DESCRIPTORS: Final = 64
"""Descriptors that the master reserves for the store, the logs and HTTP; connections cannot use them."""
WORKER_DESCRIPTORS: Final = 32
EXECUTOR_DESCRIPTORS: Final = 8
"""Descriptors that a supervisor needs for each executor, beyond its own `WORKER_DESCRIPTORS`: pipes, shared pages, the
executor's process."""
CONNECTIONS_MIN: Final = 16
"""Minimum connections for which a master starts; with fewer it could serve only one or two workers."""


class TooFewDescriptors(DistqError):
    """The system allows this process too few open files and connections."""

    code = "TOO_FEW_DESCRIPTORS"
    hint = "Raise the limit: `ulimit -n 4096`, LimitNOFILE= of systemd, `--ulimit nofile=` of Docker."
    exit_code = 2


def raise_limit() -> int:
    """Raise this process's limit of open descriptors as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else UNLIMITED_TARGET
    if soft not in (wanted, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def room_for_connections() -> int:
    """Return how many connections a master may have; raise TooFewDescriptors below `CONNECTIONS_MIN`."""
    limit = raise_limit()
    needed = OWN_DESCRIPTORS + CONNECTIONS_MIN
    if limit < needed:
        raise TooFewDescriptors(
            f"This process may open {counted(limit, 'file')} and connections; a master needs at least {needed}: "
            f"{OWN_DESCRIPTORS} for its own files and HTTP, and {CONNECTIONS_MIN} for workers and clients."
        )
    return limit - OWN_DESCRIPTORS


def make_room_for(executors: int) -> None:
    """Raise a worker's limit to what its executors need, and no further, because the executors inherit it.

    Raises:
        TooFewDescriptors: the system does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = WORKER_DESCRIPTORS + executors * EXECUTOR_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooFewDescriptors(
            f"This process may open {counted(hard, 'file')} and connections; "
            f"a worker with {counted(executors, 'executor')} needs {needed:,}."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
