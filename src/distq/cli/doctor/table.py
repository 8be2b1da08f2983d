"""All checks by their area: the one place from which the command, the how-to page and the page about security read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from distq.cli.doctor import cluster, keys, network
from distq.cli.doctor.model import Check

MACHINE: Final = "machine"
MASTER: Final = "master"

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = MappingProxyType(
    {
        MACHINE: keys.LOCAL_CHECKS,
        MASTER: (*network.CHECKS, *keys.CHECKS, *cluster.CHECKS),
    }
)
"""By area: this machine, and the master with its workers."""

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        MACHINE: "This machine",
        MASTER: "The master and its workers",
    }
)
"""The heading of each area."""
