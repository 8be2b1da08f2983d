"""The worker as its metrics and probes see it."""

from collections.abc import Mapping

from distq.worker.supervisor.executor_pool import ExecutorPool
from distq.worker.supervisor.master_session import MasterSession
from distq.worker.supervisor.supervisor import Supervisor


class WorkerView:
    """What `distq.web` and `distq.metrics` read of a worker."""

    def __init__(self, supervisor: Supervisor, crew: ExecutorPool, link: MasterSession, pool: str) -> None:
        self._supervisor = supervisor
        self._executors = crew
        self._master_session = link
        self.pool = pool

    @property
    def slots(self) -> int:
        """How many tasks it runs at once."""
        return self._executors.executor_slots

    @property
    def busy(self) -> int:
        """How many it runs now."""
        return self._executors.busy

    @property
    def exits(self) -> Mapping[str, int]:
        """How many executors ended without being told to, by cause."""
        return self._executors.exits

    @property
    def tasks(self) -> Mapping[str, int]:
        """How many tasks it has answered, by outcome."""
        counts = self._executors.counts
        return {"success": counts.done, "failure": counts.failed, "released": counts.released}

    @property
    def connected(self) -> bool:
        """Whether it is connected to a master and has an executor that can work."""
        return self._master_session.connected and self._executors.up > 0

    @property
    def draining(self) -> bool:
        """Whether it takes no more tasks and will end."""
        return self._supervisor.draining
