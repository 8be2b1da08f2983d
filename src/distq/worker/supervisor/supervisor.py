"""The supervisor of a worker: handles signals and executors' ends, plans, and carries the plan out.

The supervisor runs no task and imports no user code, so no task keeps it from sending heartbeats. As process 1 of a
container it also reaps orphaned processes.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.net.stop_signals import stop_signals
from distq.protocol.heartbeat import WorkerReport
from distq.worker.shared.clock import Clock
from distq.worker.shared.lease_id import LeaseId
from distq.worker.supervisor.executor_pool import ExecutorPool
from distq.worker.supervisor.exits import ExitReason
from distq.worker.supervisor.master_session import MasterSession
from distq.worker.supervisor.plan import Phase, plan
from distq.worker.supervisor.watchdog import CHECK_S

SUMMARY_S: Final = 10.0
"""Seconds between two log lines that say how many tasks have run."""
LAST_REPORT_S: Final = 2.0
"""Maximum seconds to report to the master how the last executors have ended."""
INIT: Final = 1
"""The process id of a container's first process."""
STARTS_MAX: Final = 8
"""Executors of one place that may end before any of this worker is ready; then the worker gives up."""


class ExecutorsUnusable(DistqError):
    """The executors of this worker cannot work."""

    code = "EXECUTORS_UNUSABLE"
    exit_code = 2


class NoExecutorStarts(DistqError):
    """Every executor of this worker has ended before it could take a task."""

    code = "NO_EXECUTOR_STARTS"
    hint = "See what they have written above; look for a module that ends its process, or crashes, when it is imported."
    exit_code = 1


class Supervisor:
    """Runs one worker."""

    def __init__(self, drain_s: float, log: FilteringBoundLogger, clock: Clock) -> None:
        self.phase = Phase.SERVING
        self.pool: ExecutorPool
        self.master_session: MasterSession
        self._drain_s = drain_s
        self._log = log
        self._clock = clock
        self._kill_at = 0.0
        self._changes = asyncio.Event()
        self._error: BaseException | None = None
        self._was_ready = False
        self._last_end = "it could not be started"

    @property
    def draining(self) -> bool:
        """Whether the worker leases no more tasks and will end."""
        return self.phase is not Phase.SERVING

    # -- events of executors and master ------------------------------------------------------------

    def changed(self) -> None:
        """Note that a place has changed: plan again."""
        self._was_ready = self._was_ready or self.pool.ready > 0
        self._changes.set()

    def ended(self, number: int, reason: ExitReason) -> None:
        """Report to the master that an executor has ended."""
        self._last_end = reason.cause.text
        self.master_session.exited(reason.of_executor(number))

    def released(self, lease_ids: Sequence[LeaseId]) -> None:
        """Hand tasks back to the master that waited behind a long one."""
        self.master_session.released(lease_ids)

    def unable(self, reason: str) -> bool:
        """End the worker if an executor cannot work and none has ever been ready: its settings are wrong."""
        if not self._was_ready:
            self._fail(ExecutorsUnusable(reason))
        return not self._was_ready

    def found(self, lease_id: LeaseId, stack: str) -> None:
        """Send the master the stack of a task."""
        self.master_session.found(lease_id, stack)

    def report(self) -> WorkerReport:
        """What a heartbeat reports, except for the ends of executors."""
        memory = self.pool.cgroup.memory
        own_bytes = self.pool.resident_bytes if memory.limit_bytes is None else None
        used = memory.used_bytes if own_bytes is None else own_bytes
        return WorkerReport(self.pool.busy, self.pool.executor_slots, used, memory.limit_bytes, self.draining)

    # -- its life --------------------------------------------------------------------------------

    async def run(self, pool: ExecutorPool, master_session: MasterSession, *, listens: bool = True) -> int:
        """Work until `drain`; returns the exit code, also 0 if executors had to be killed.

        With `listens`, the stop signals of this process drain the worker.

        Raises:
            DistqError: the worker cannot work: its handler, its key.
        """
        self.pool, self.master_session = pool, master_session
        loop = asyncio.get_running_loop()
        for number in stop_signals() if listens else ():
            loop.add_signal_handler(number, self._signalled, number)
        if listens and os.getpid() == INIT:
            loop.add_signal_handler(signal.SIGCHLD, self._reap_orphans)
        session_task = loop.create_task(master_session.run(), name="master-session")
        session_task.add_done_callback(self._session_ended)
        others = [loop.create_task(self._summarise()), loop.create_task(self._check_executors())]
        try:
            await self._carry_out_plans()
            await master_session.wait_reported(LAST_REPORT_S)
        finally:
            session_task.cancel()
            for other in others:
                other.cancel()
            await asyncio.gather(session_task, *others, return_exceptions=True)
            self.pool.outputs.finish()
        if self._error is not None:
            raise self._error
        return os.EX_OK

    async def _carry_out_plans(self) -> None:
        places = self.pool.places
        while True:
            self._changes.clear()
            actions, wake_at = plan(places, self.phase, self._kill_at, self._clock())
            for action in actions:
                self.pool.carry_out(action)
            if self.draining and not self.pool.pids:
                return
            self._give_up_without_executors()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wake_at is None else max(wake_at - self._clock(), 0.0)):
                    await self._changes.wait()

    def _give_up_without_executors(self) -> None:
        """End a worker of which no executor has ever been ready, rather than start executors without end."""
        deaths = max(place.early_deaths for place in self.pool.places)
        if not self._was_ready and deaths >= STARTS_MAX:
            self._fail(
                NoExecutorStarts(
                    f"{counted(deaths, 'executor')}, one after the other, have ended before they could take a task, "
                    f"the last one with: {self._last_end}."
                )
            )

    def drain(self) -> None:
        """Lease no more tasks, and end when the running ones have ended, or after the drain time."""
        self.phase, self._kill_at = Phase.DRAINING, self._clock() + self._drain_s
        self.master_session.wake()
        self._changes.set()

    def _signalled(self, number: signal.Signals) -> None:
        now = self._clock()
        if self.phase is Phase.SERVING:
            self._log.info("drain_began", signal=number.name, drain_s=self._drain_s, busy=self.pool.busy)
            self.drain()
        elif number != signal.SIGHUP:  # a terminal that closes may send SIGHUP twice: that does not shorten the drain
            self._kill_at = now
        self._changes.set()

    def _fail(self, error: BaseException) -> None:
        if self._error is None and self.phase is Phase.SERVING:
            self._error = error
            self.phase = Phase.STOPPING
            self._changes.set()

    def _session_ended(self, session_task: asyncio.Task[None]) -> None:
        if not session_task.cancelled() and (error := session_task.exception()) is not None:
            self._fail(error)

    def _reap_orphans(self) -> None:
        with suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if not self.pool.reap(dead.si_pid):
                    os.waitpid(dead.si_pid, 0)

    async def _check_executors(self) -> None:
        """Check the executors, and at every second check the memory: an idle worker wakes up less often."""
        while True:
            await asyncio.sleep(CHECK_S)
            self.pool.check()
            await asyncio.sleep(CHECK_S)
            self.pool.check()
            self.pool.guard()

    async def _summarise(self) -> None:
        """Log every `SUMMARY_S` how many tasks have run; a line for each task would cost more than the task."""
        before, began = self.pool.counts, self._clock()
        while True:
            await asyncio.sleep(SUMMARY_S)
            now, counts = self._clock(), self.pool.counts
            done, failed = counts.done - before.done, counts.failed - before.failed
            if done or failed:
                rate = round((done + failed) / (now - began), 1)
                self._log.info("tasks_run", done=done, failed=failed, per_s=rate, busy=self.pool.busy)
            before, began = counts, now
