"""The supervisor: it hears signals and deaths, plans, obeys the plan, and keeps the word with the master.

It runs no task and imports no user code, so nothing that a task does keeps it from its heartbeats. As process
1 of a container it also buries what others have left behind.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.net.stop_signals import stop_signals
from distq.worker.shared.clock import Clock
from distq.worker.supervisor.executor_pool import ExecutorPool
from distq.worker.supervisor.exits import ExitReason
from distq.worker.supervisor.master_session import MasterSession
from distq.worker.supervisor.plan import Phase, plan
from distq.worker.supervisor.watchdog import CHECK_S

SUMMARY_S: Final = 10.0
FAREWELL_S: Final = 2.0
"""How long the master may take to hear how the last executors ended."""
INIT: Final = 1
STARTS_MAX: Final = 8
"""Executors of one slot that end before the first of this worker has come up; then it gives up."""


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
    """One worker at work."""

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
        self._was_up = False
        self._last_end = "it could not be started"

    @property
    def draining(self) -> bool:
        """Whether it takes no more tasks and will end."""
        return self.phase is not Phase.SERVING

    # -- what is told to it ----------------------------------------------------------------------

    def changed(self) -> None:
        """Something about the executors has changed."""
        self._was_up = self._was_up or self.pool.up > 0
        self._changes.set()

    def ended(self, number: int, verdict: ExitReason) -> None:
        """An executor has ended."""
        self._last_end = verdict.end.text
        self.master_session.exited({"index": number, **verdict.told})

    def returned(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Tasks that wait behind a long one go back to the master at once."""
        self.master_session.returned(deliveries)

    def unable(self, reason: str) -> bool:
        """An executor cannot work; at the very start that is a mistake of whoever started the worker."""
        if not self._was_up:
            self._fail(ExecutorsUnusable(reason))
        return not self._was_up

    def stop(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """The master wants these tasks no more."""
        self.pool.stop(deliveries)

    def where(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """The master wants to know where these tasks are."""
        self.pool.where(deliveries)

    def found(self, delivery: tuple[int, int], stack: str) -> None:
        """Where one of them is."""
        self.master_session.found(delivery, stack)

    def holds(self) -> Sequence[tuple[int, int, int]]:
        """What a `hello` says that the executors hold: by number, task and delivery."""
        return self.pool.held

    def renew(self, since_s: float, until_s: float) -> None:
        """What the executors have leased since then is given to nobody else until then."""
        self.pool.renew(since_s, until_s)

    def report(self) -> Mapping[str, object]:
        """What a heartbeat says, but for the ends of executors."""
        memory = self.pool.cgroup.memory
        ours = self.pool.resident_bytes if memory.limit_bytes is None else None
        return {
            "busy": self.pool.busy,
            "slots": self.pool.executor_slots,
            "memory_bytes": memory.used_bytes if ours is None else ours,
            "memory_limit_bytes": memory.limit_bytes,
            "draining": self.draining,
        }

    # -- its life --------------------------------------------------------------------------------

    async def run(self, crew: ExecutorPool, link: MasterSession) -> int:
        """Work until told to end; returns the exit code, 0: what had to be killed was handed back.

        Raises:
            DistqError: the worker cannot work: its handler, its key.
        """
        self.pool, self.master_session = crew, link
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._signalled, number)
        if os.getpid() == INIT:
            loop.add_signal_handler(signal.SIGCHLD, self._reap_orphans)
        talking = loop.create_task(link.run(), name="link")
        talking.add_done_callback(self._link_ended)
        others = [loop.create_task(self._summarise()), loop.create_task(self._watch())]
        try:
            await self._tend()
            await link.farewell(FAREWELL_S)
        finally:
            talking.cancel()
            for other in others:
                other.cancel()
            await asyncio.gather(talking, *others, return_exceptions=True)
            self.pool.outputs.finish()
        if self._error is not None:
            raise self._error
        return os.EX_OK

    async def _tend(self) -> None:
        slots = self.pool.slots
        while True:
            self._changes.clear()
            actions, wake_at = plan(slots, self.phase, self._kill_at, self._clock())
            for action in actions:
                self.pool.obey(action)
            if self.draining and not self.pool.pids:
                return
            self._give_up_without_executors()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wake_at is None else max(wake_at - self._clock(), 0.0)):
                    await self._changes.wait()

    def _give_up_without_executors(self) -> None:
        """End a worker of which no executor has ever come up, rather than start them without end."""
        deaths = max(slot.early_deaths for slot in self.pool.slots)
        if not self._was_up and deaths >= STARTS_MAX:
            self._fail(
                NoExecutorStarts(
                    f"{deaths} executors, one after the other, have ended before they could take a task, the last one "
                    f"with: {self._last_end}."
                )
            )

    def _signalled(self, number: signal.Signals) -> None:
        now = self._clock()
        if self.phase is Phase.SERVING:
            self.phase, self._kill_at = Phase.DRAINING, now + self._drain_s
            self._log.info("drain_began", signal=number.name, drain_s=self._drain_s, busy=self.pool.busy)
            self.master_session.wake()
        elif number != signal.SIGHUP:  # a terminal that closes may send it twice, which hurries nothing
            self._kill_at = now
        self._changes.set()

    def _fail(self, error: BaseException) -> None:
        if self._error is None and self.phase is Phase.SERVING:
            self._error = error
            self.phase = Phase.STOPPING
            self._changes.set()

    def _link_ended(self, talking: asyncio.Task[None]) -> None:
        if not talking.cancelled() and (error := talking.exception()) is not None:
            self._fail(error)

    def _reap_orphans(self) -> None:
        with suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if not self.pool.reap(dead.si_pid):
                    os.waitpid(dead.si_pid, 0)

    async def _watch(self) -> None:
        """Look at the executors, and every second time at the memory: fewer awakenings, less of a core when idle."""
        while True:
            await asyncio.sleep(CHECK_S)
            self.pool.check()
            await asyncio.sleep(CHECK_S)
            self.pool.check()
            self.pool.guard()

    async def _summarise(self) -> None:
        """Say from time to time how much is done; a line for each task would cost more than the task."""
        before, began = self.pool.counts, self._clock()
        while True:
            await asyncio.sleep(SUMMARY_S)
            now, counts = self._clock(), self.pool.counts
            done, failed = counts.done - before.done, counts.failed - before.failed
            if done or failed:
                rate = round((done + failed) / (now - began), 1)
                self._log.info("tasks_run", done=done, failed=failed, per_s=rate, busy=self.pool.busy)
            before, began = counts, now
