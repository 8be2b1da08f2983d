"""The worker as its metrics and probes see it."""

from collections.abc import Mapping

from distq.worker.crew import Crew
from distq.worker.link import Link
from distq.worker.supervisor import Supervisor


class View:
    """What `distq.web` and `distq.metrics` read of a worker."""

    def __init__(self, supervisor: Supervisor, crew: Crew, link: Link, pool: str) -> None:
        self._supervisor = supervisor
        self._crew = crew
        self._link = link
        self.pool = pool

    @property
    def slots(self) -> int:
        """How many tasks it runs at once."""
        return self._crew.seats

    @property
    def busy(self) -> int:
        """How many it runs now."""
        return self._crew.busy

    @property
    def exits(self) -> Mapping[str, int]:
        """How many executors ended without being told to, by cause."""
        return self._crew.exits

    @property
    def tasks(self) -> Mapping[str, int]:
        """How many tasks it has answered, by outcome."""
        counts = self._crew.counts
        return {"success": counts.done, "failure": counts.failed, "released": counts.released}

    @property
    def connected(self) -> bool:
        """Whether it is connected to a master and has an executor that can work."""
        return self._link.connected and self._crew.up > 0

    @property
    def draining(self) -> bool:
        """Whether it takes no more tasks and will end."""
        return self._supervisor.draining
