"""Ports of this machine for the processes of a test."""

import os
from typing import Final

from distq.demo.cluster import BELOW_EPHEMERAL
from distq.demo.cluster import free_port as free_port_among

_TEST_PROCESSES: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THIS_PROCESS: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS: Final = BELOW_EPHEMERAL[_THIS_PROCESS::_TEST_PROCESSES]
"""Ports of this test process alone: two processes can both find a port free on which no program listens yet."""


def free_port() -> int:
    """Return a port that no other test uses, in this process or in one beside it."""
    return free_port_among(_PORTS)
