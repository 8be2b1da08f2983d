"""All checks by their area: the one place from which the command, the how-to page and the page about security read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from distq.cli.doctor import cluster, compose, keys, kubernetes, network
from distq.cli.doctor.model import Check

MACHINE: Final = "machine"
MASTER: Final = "master"
COMPOSE: Final = "compose"
KUBERNETES: Final = "kubernetes"

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = MappingProxyType(
    {
        MACHINE: keys.LOCAL_CHECKS,
        MASTER: (*network.CHECKS, *keys.CHECKS, *cluster.CHECKS),
        COMPOSE: compose.CHECKS,
        KUBERNETES: kubernetes.CHECKS,
    }
)
"""By area: this machine, the master with its workers, a Compose project, a release of the chart."""

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        MACHINE: "This machine",
        MASTER: "The master and its workers",
        COMPOSE: "The Compose project, with --compose",
        KUBERNETES: "The release of the chart, with --kubernetes",
    }
)
"""The heading of each area."""
