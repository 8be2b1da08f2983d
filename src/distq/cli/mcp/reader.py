"""Reads the state of the master for one call of a tool, by the calls that change nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distq.cli.ask import ACTION_S, master
from distq.net.dial import Connection
from distq.protocol.methods import ADMIN, BROKER, STATS
from distq.settings import Settings

READING: Final = frozenset({"dead_list", "dead_show", "list", "live", "show"})
"""The requests of an operator that change nothing; a reader makes no other."""


class ClusterReader:
    """Asks the master on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stats(self, what: str) -> Any:
        """Return the master's figures about itself or its workers."""
        return self._connection.call(BROKER, STATS, (what,), timeout_s=ACTION_S)

    def ask(self, what: str, **asked: Any) -> Any:
        """Return the answer to one of the requests in READING; raises RemoteRefusal."""
        assert what in READING, what
        return self._connection.call(BROKER, ADMIN, (what, asked), timeout_s=ACTION_S)


@contextmanager
def reading(settings: Settings) -> Iterator[ClusterReader]:
    """Connect to the master for the length of a `with`; raises as `distq.cli.ask.master` does."""
    with master(settings, "mcp") as connection:
        yield ClusterReader(connection)
