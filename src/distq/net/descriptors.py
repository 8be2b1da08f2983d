"""How many files and connections this process may have open: the limit is raised as far as it goes, and looked at."""

import resource
from typing import Final

from distq.core.errors import DistqError

UNLIMITED_TARGET: Final = 1 << 20
"""Asked for where the machine sets no limit."""
OWN_DESCRIPTORS: Final = 64
"""Kept for the store, the logs and HTTP, so that a flood of connections cannot take them."""
WORKER_DESCRIPTORS: Final = 32
EXECUTOR_DESCRIPTORS: Final = 8
"""Descriptors of a worker's supervisor, and how many more for each executor: pipes, shared pages, its process."""
CONNECTIONS_MIN: Final = 16
"""A master with room for fewer connections than this would serve no more than a worker or two."""


class TooFewDescriptors(DistqError):
    """The machine lets this process open too few files and connections."""

    code = "TOO_FEW_DESCRIPTORS"
    hint = "Raise the limit: `ulimit -n 4096`, LimitNOFILE= of systemd, `--ulimit nofile=` of Docker."
    exit_code = 2


def raise_limit() -> int:
    """Raise the limit of open descriptors as far as it goes, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else UNLIMITED_TARGET
    if soft not in (wanted, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def room_for_connections() -> int:
    """How many connections a master may have; raises TooFewDescriptors if that is next to none."""
    limit = raise_limit()
    needed = OWN_DESCRIPTORS + CONNECTIONS_MIN
    if limit < needed:
        raise TooFewDescriptors(
            f"This process may open {limit} files and connections; a master needs at least {needed}: "
            f"{OWN_DESCRIPTORS} for its own files and HTTP, and {CONNECTIONS_MIN} for workers and clients."
        )
    return limit - OWN_DESCRIPTORS


def make_room_for(executors: int) -> None:
    """Raise a worker's limit to what its executors need, and no further: they inherit it. Raises TooFewDescriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = WORKER_DESCRIPTORS + executors * EXECUTOR_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooFewDescriptors(
            f"This process may open {hard} files and connections; a worker with {executors} executors needs {needed}."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
