"""The view of a worker that metrics and probes read."""

from collections.abc import Mapping

from distq.worker.supervisor.executor_pool import ExecutorPool
from distq.worker.supervisor.master_session import MasterSession
from distq.worker.supervisor.supervisor import Supervisor


class WorkerView:
    """What `distq.web` and `distq.metrics` read of one worker."""

    def __init__(
        self, supervisor: Supervisor, executors: ExecutorPool, master_session: MasterSession, pool: str
    ) -> None:
        self._supervisor = supervisor
        self._executors = executors
        self._master_session = master_session
        self.pool = pool

    @property
    def slots(self) -> int:
        """How many tasks the worker runs at the same time."""
        return self._executors.executor_slots

    @property
    def busy(self) -> int:
        """How many tasks run now."""
        return self._executors.busy

    @property
    def exits(self) -> Mapping[str, int]:
        """How many executors have ended that the supervisor had not asked to end, by cause."""
        return self._executors.exits

    @property
    def tasks(self) -> Mapping[str, int]:
        """How many leases the executors have settled, by outcome."""
        counts = self._executors.counts
        return {"success": counts.done, "failure": counts.failed, "released": counts.released}

    @property
    def connected(self) -> bool:
        """Whether the worker is connected to a master and has an executor that can run tasks."""
        return self._master_session.connected and self._executors.ready > 0

    @property
    def draining(self) -> bool:
        """Whether the worker leases no more tasks and will end."""
        return self._supervisor.draining
