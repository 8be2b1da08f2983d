"""Watches a test cluster's master from its event loop: whether tasks can still run, and what happens as time passes."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from distq.core.explain import explain, lacking
from distq.core.states import LEASED, LIVE_STATES, READY
from distq.core.task_ids import id_text
from distq.master.admin.inspection import capacity_for, instant_text
from distq.master.cycle.clock import SystemClock
from distq.master.sessions.timeouts import LeaseTimeout
from distq.testing.errors import TasksUnfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distq.core.task import Task
    from distq.master.cycle.requests import Request
    from distq.master.main import Master
    from distq.worker.supervisor.executor_pool import ExecutorPool
    from distq.worker.supervisor.master_session import MasterSession

CHECK_S: Final = 0.001
"""Seconds between two checks of a fact."""
IDLE_PASSES: Final = 3
"""Passes of the event loop in a row that must find the master idle: each reads what has arrived meanwhile."""
NAMED_MAX: Final = 5
"""Maximum tasks that an error names."""

monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds of the machine's monotonic clock; tools that freeze or fake the time in tests do not replace this call."""


class MovableClock(SystemClock):
    """The clock of a test cluster's master: it does not follow the machine's date, and `move` sets it forward.

    No setting and no request of a peer reaches `move`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._base = time.clock_gettime(time.CLOCK_REALTIME) - monotonic()

    def now(self) -> float:
        """The present instant of the cluster, in seconds since 1970."""
        return self._base + monotonic()

    def differs(self) -> float:
        """Return 0: this clock follows no other one."""
        return 0.0

    def move(self, by_s: float) -> None:
        """Set the clock forward by `by_s` seconds."""
        self._base += by_s


class MasterWatch:
    """Waits for the tasks of a test cluster, and moves its clock; every method runs in the cluster's event loop."""

    def __init__(self, master: Master, clock: MovableClock, pool: ExecutorPool, session: MasterSession) -> None:
        self._master = master
        self._clock = clock
        self._pool = pool
        self._session = session
        self._holds = 0
        """The blocks of `hold` that have not ended."""

    @property
    def is_connected(self) -> bool:
        """Whether the worker and every executor that runs no task are connected."""
        sessions = self._master.workers.sessions.values()
        executors = sum(one.connection is not None for session in sessions for one in session.executors.values())
        is_admitted = any(session.connection is not None for session in sessions)
        return is_admitted and executors + self._pool.busy >= len(self._pool.places)

    @property
    def is_ready(self) -> bool:
        """Whether every executor waits at the master for tasks."""
        waiting = sum(
            executor.request is not None and executor.request.parked
            for session in self._master.workers.sessions.values()
            for executor in session.executors.values()
        )
        return self._pool.ready == len(self._pool.places) == waiting

    def live(self, keys: Iterable[int]) -> set[int]:
        """Those of these tasks that have not ended."""
        tasks = self._master.broker.ledger.state.tasks
        return {key for key in keys if (task := tasks.get(key)) is not None and task.state in LIVE_STATES}

    def hold(self, *, held: bool) -> None:
        """Lease no task from now on, or lease again when every hold has ended."""
        self._holds += 1 if held else -1
        self._master.broker.draining = self._holds > 0
        self._master.broker.wake()

    async def is_quiet(self) -> bool:
        """Whether no task runs, and no ready task can begin now."""
        await self._idle()
        if self._count(LEASED):
            return False
        return not self._count(READY) or self._master.broker.draining or self.is_ready

    async def wait_until_quiet(self, until_at: float) -> None:
        """Wait until `is_quiet`.

        Raises TasksUnfinished at `until` (of the monotonic clock), or if there are tasks that no executor can run.
        """
        while not await self.is_quiet():
            if monotonic() >= until_at:
                raise TasksUnfinished(f"Tasks have not ended in time. {self._explained(self._tasks(LEASED, READY))}")
            await asyncio.sleep(CHECK_S)
        stuck = [task for task in self._tasks(READY) if lacking(task, capacity_for(self._master.workers, task))]
        if stuck and not self._master.broker.draining:
            raise TasksUnfinished(f"No executor of the cluster can run tasks that wait. {self._explained(stuck)}")

    async def advance(self, by_s: float, until_at: float, *, wait: bool, heartbeats: bool) -> None:
        """Move the clock forward by `by_s`, from one instant at which something is due to the next.

        With `wait`, the tasks that are ready at an instant run before the clock moves on. Raises TasksUnfinished.
        """
        end_at = self._clock.now() + by_s

        def keeps_length(request: Request) -> bool:
            return not request.follows_wall_clock and (heartbeats or not isinstance(request, LeaseTimeout))

        while True:
            if wait:
                await self.wait_until_quiet(until_at)
            else:
                await self._idle()
            now = self._clock.now()
            if now >= end_at:
                break
            due_at = min(self._next_due(keeps_length), end_at)
            self._move(max(due_at - now, 0.0), keeps_length)
            await self._idle()
            if monotonic() >= until_at:
                raise TasksUnfinished(f"The clock has still {end_at - self._clock.now():,.0f} s to go.")
        if not heartbeats:
            await self._admit_worker(until_at)

    def _next_due(self, keeps_length: Callable[[Request], bool]) -> float:
        """The next instant of the ledger, or of a request to which a move of the clock brings its instant nearer."""
        broker = self._master.broker
        ledger_at = broker.ledger.sweeper.next_deadline()
        request_at = broker.instants.next_of(lambda request: not keeps_length(request))
        return min((at for at in (ledger_at, request_at) if at is not None), default=math.inf)

    async def _admit_worker(self, until_at: float) -> None:
        """Let the worker, whose leases have ended, return now; by itself it would return at its next heartbeat."""
        while not self.is_connected:
            self._session.wake()
            if monotonic() >= until_at:
                raise TasksUnfinished("The worker has not returned to the master in time.")
            await asyncio.sleep(CHECK_S)

    def _move(self, by_s: float, keeps_length: Callable[[Request], bool]) -> None:
        """Set the clock forward: what peers wait for keeps its length, and everything else is nearer."""
        self._clock.move(by_s)
        self._master.broker.timer.reset()  # type: ignore[attr-defined] # a LoopTimer, which the master composes
        self._master.broker.shift_waits(by_s, keeps_length)

    async def _idle(self) -> None:
        """Wait until the master has handled everything that has arrived."""
        broker = self._master.broker
        passes = 0
        while passes < IDLE_PASSES:
            await asyncio.sleep(0)
            passes = passes + 1 if broker.sleeper is not None and not broker.sleeper.done() else 0

    def _count(self, state: int) -> int:
        return sum(queue.counts[state] for queue in self._master.broker.ledger.registry.queues.values())

    def _tasks(self, *states: int) -> list[Task]:
        return [task for task in self._master.broker.ledger.state.tasks.values() if task.state in states]

    def _explained(self, tasks: list[Task]) -> str:
        """A sentence for each of the first tasks, as `distq why` prints it."""
        workers, pending = self._master.workers, self._master.broker.ledger.state.dependencies.pending
        now = self._clock.now()
        sentences = [
            f"Task {id_text(task.task_key)}, {task.envelope.name}: "
            + explain(task, capacity_for(workers, task), instant_text, now, pending.get(task.task_key, 0))
            for task in tasks[:NAMED_MAX]
        ]
        more = f" There are {len(tasks) - NAMED_MAX:,} more." if len(tasks) > NAMED_MAX else ""
        return " ".join(sentences) + more
