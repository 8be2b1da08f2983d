"""The executors of one worker: starts, checks, stops and reaps them, and counts what they do."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.core.task_ids import id_text
from distq.logs import of_trace
from distq.tasks.failure import overrun_text
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import Counts, Ending
from distq.worker.shared.reports import Connected, Disconnected, Failed, Ready, Report, Succeeded, Trouble, Unable
from distq.worker.shared.resident_memory import resident_bytes
from distq.worker.supervisor import cause
from distq.worker.supervisor.cause import Cause
from distq.worker.supervisor.executor_process import ExecutorProcess
from distq.worker.supervisor.exits import (
    DRAIN_OVER,
    KINDS,
    LEASE_OVER,
    NOT_STARTED,
    STOP_REQUESTED,
    ExitReason,
    PoolListener,
    exit_reason_by,
    exit_reason_of,
)
from distq.worker.supervisor.memory import Cgroup
from distq.worker.supervisor.memory_guard import MemoryGuard, out_of_memory_cause
from distq.worker.supervisor.output import ExecutorOutputs
from distq.worker.supervisor.plan import Action, AskToEnd, ExecutorPlace, Kill, Spawn
from distq.worker.supervisor.watchdog import EXIT_AFTER_S, WatchdogAction

STACK_CHECK_S: Final = 0.02
"""Seconds between two looks for a stack that an executor was asked for."""
STACK_CHECKS: Final = 50
"""Maximum looks for it: one second."""
REORDER_S: Final = 0.001
"""Seconds after which every processor sees that a batch is revoked, and the supervisor sees what began before."""


class ExecutorPool:
    """All executors of one worker."""

    def __init__(
        self,
        config: ExecutorConfig,
        size: int,
        environ: Mapping[str, str],
        devices: Sequence[str],
        listener: PoolListener,
        log: FilteringBoundLogger,
        clock: Clock,
        cgroup: Cgroup,
    ) -> None:
        self.places = [ExecutorPlace(index) for index in range(size)]
        self.exits: Counter[str] = Counter()
        """How many executors have ended that the supervisor had not asked to end, by cause."""
        self.cgroup = cgroup
        self._config = config
        self._environ = environ
        self._devices = devices
        """The machine's devices, of which each place gets one, in rotation."""
        self._listener = listener
        self._log = log
        self._clock = clock
        self._children: dict[ExecutorPlace, ExecutorProcess] = {}
        self._exit_reasons: dict[ExecutorPlace, ExitReason] = {}
        self._guard = MemoryGuard()
        self._counts = Counts()
        self._last_number = 0
        self._oom_kills = self.cgroup.out_of_memory_kills
        self._complaint = ""
        self.outputs = ExecutorOutputs()
        self._lease_since_at = self._lease_until_at = 0.0
        """Leases asked for since the first instant hold until the second, by the machine's monotonic clock."""

    @property
    def busy(self) -> int:
        """How many tasks run now."""
        return sum(len(child.page.all_running) for child in self._children.values())

    @property
    def executor_slots(self) -> int:
        """Maximum tasks that run at the same time."""
        return len(self.places) * self._config.executor_slots

    @property
    def ready(self) -> int:
        """How many executors are ready to run tasks."""
        return sum(place.ready_at is not None for place in self.places)

    @property
    def counts(self) -> Counts:
        """What all executors have done so far, those that have ended included."""
        total = self._counts
        for child in self._children.values():
            total = total.plus(child.page.counts)
        return total

    @property
    def pids(self) -> list[int]:
        """The process ids of the executors."""
        return [child.pid for child in self._children.values()]

    @property
    def resident_bytes(self) -> int:
        """The resident memory of the executors and of this process."""
        return resident_bytes("self") + sum(map(resident_bytes, self.pids))

    def carry_out(self, action: Action) -> None:
        """Do what the plan says."""
        match action:
            case Spawn(place):
                self._spawn(place)
            case AskToEnd(place):
                place.is_asked_to_end = True
                self._children[place].ask_to_end()
            case Kill(place):
                place.is_killed = True
                self._children[place].kill()

    @property
    def held(self) -> list[tuple[int, int, int]]:
        """The leases that the executors hold: the executor's number, the task and its delivery."""
        return [(child.number, *lease_id) for child in self._children.values() for lease_id in child.page.held]

    def renew(self, since_at: float, until_at: float) -> None:
        """Note that the leases asked for since the first instant hold until the second."""
        self._end_lease_bound(self._clock())  # a lease that is over is not renewed any more
        self._lease_since_at, self._lease_until_at = since_at, max(self._lease_until_at, until_at)
        for child in self._children.values():
            child.page.renew(since_at, self._lease_until_at)

    def _end_lease_bound(self, now: float) -> None:
        """When the leases are over, kill executors with lease-bound tasks that have not ended themselves."""
        if now < self._lease_until_at:
            return
        for place, child in self._children.items():
            if child.page.is_lease_bound and place not in self._exit_reasons:
                self._kill(place, exit_reason_of(LEASE_OVER, child.page.all_running))

    def check(self) -> None:
        """Take back tasks that wait behind a long one, and end those beyond their time limit or lease."""
        now = self._clock()
        self._end_lease_bound(now)
        for place, child in list(self._children.items()):
            match child.check(now):
                case WatchdogAction.NOTHING:
                    pass
                case WatchdogAction.REVOKE:
                    if isinstance(child.page, BatchPage):
                        self._revoke(place, child, child.page)
                case WatchdogAction.REQUEST_STACK:
                    child.page.forget_stack()
                    child.ask_for_stack()
                case WatchdogAction.KILL_STOPPED:
                    self._kill(place, ExitReason(STOP_REQUESTED, child.watchdog.blamed))
                case WatchdogAction.KILL_OVER_LIMIT:
                    end = Cause(cause.TIMEOUT, overrun_text(child.watchdog.limit_s))
                    self._kill(place, ExitReason(end, child.watchdog.blamed, stack=child.page.stack))
                case WatchdogAction.KILL_LEAVING:
                    self._end_hung(place, child)

    def _end_hung(self, place: ExecutorPlace, child: ExecutorProcess) -> None:
        """Kill an executor that has settled everything and does not exit: its place is needed."""
        if place in self._exit_reasons:
            return
        self._log.warning("executor_end_hung", pid=child.pid, after_s=EXIT_AFTER_S, stack=child.page.stack)
        self._kill(
            place, ExitReason(Cause(cause.HUNG, f"it had not ended {EXIT_AFTER_S:g} s after its last task"), None)
        )

    def stop(self, lease_ids: Sequence[LeaseId]) -> None:
        """Stop these tasks, or take them back if they have not begun."""
        for place, child in self._children.items():
            running = child.page.all_running
            for lease_id in lease_ids:
                if lease_id in running:
                    child.page.stop(lease_id)
                    child.watchdog.stop(lease_id, self._clock())
                    child.ask_to_stop()
                elif isinstance(child.page, BatchPage) and child.page.is_unstarted(lease_id):
                    self._revoke(place, child, child.page)

    def find(self, lease_ids: Sequence[LeaseId]) -> None:
        """Ask for the stacks of these tasks; the listener gets each when it is known."""
        running = {lease_id: child for child in self._children.values() for lease_id in child.page.all_running}
        for lease_id in lease_ids:
            child = running.get(lease_id)
            if child is None:
                self._listener.found(lease_id, "")
            else:
                child.page.forget_stack()
                child.ask_for_stack()
                asyncio.get_running_loop().call_later(
                    STACK_CHECK_S, self._look_for_stack, child, lease_id, STACK_CHECKS
                )

    def _look_for_stack(self, child: ExecutorProcess, lease_id: LeaseId, checks: int) -> None:
        """Report the stack that an executor has written, if the task still runs there; else look again."""
        runs_here = child in self._children.values() and lease_id in child.page.all_running
        stack = child.page.stack if runs_here else ""
        if runs_here and checks and not stack:
            asyncio.get_running_loop().call_later(STACK_CHECK_S, self._look_for_stack, child, lease_id, checks - 1)
        else:
            self._listener.found(lease_id, stack)

    def _revoke(self, place: ExecutorPlace, child: ExecutorProcess, page: BatchPage) -> None:
        """Take back the tasks that an executor has not begun."""
        batch = page.position.batch
        page.revoke(batch)
        asyncio.get_running_loop().call_later(REORDER_S, self._take_back, place, child, page, batch)

    def guard(self) -> None:
        """Kill the largest executor if memory is about to run out."""
        memory = self.cgroup.memory
        if memory.limit_bytes is None or not self._guard.is_near(memory):
            return
        sizes = {child.pid: resident_bytes(child.pid) for child in self._children.values()}
        victim = self._guard.victim(memory, self.cgroup.cached_bytes, sizes, self._clock())
        for place, child in self._children.items():
            if child.pid == victim:
                self._kill(place, exit_reason_by(out_of_memory_cause(memory.limit_bytes), child.page.blame))

    def _kill(self, place: ExecutorPlace, reason: ExitReason) -> None:
        self._exit_reasons[place] = reason
        self._children[place].kill()

    def _take_back(self, place: ExecutorPlace, child: ExecutorProcess, page: BatchPage, batch: int) -> None:
        if self._children.get(place) is not child:
            return  # it has died meanwhile: the master gives out again what it held
        position = page.position
        if position.batch == batch:
            lease_ids = page.unstarted(position)
            page.set_returned(batch)
            if lease_ids:
                self._listener.released(lease_ids)

    def reap(self, pid: int) -> bool:
        """Reap the executor with this process id if it has ended; False if there is no such executor."""
        for place, child in self._children.items():
            if child.pid == pid:
                self._ended(place)
                return True
        return False

    def _spawn(self, place: ExecutorPlace) -> None:
        self._last_number += 1
        try:
            child = ExecutorProcess.spawn(self._config._replace(number=self._last_number), self._environ_of(place))
        except OSError as error:
            place.emptied(self._clock())
            self._complain(f"{NOT_STARTED}: {error.strerror}")
            return
        place.filled(child.pid)
        self.outputs.add(child.output)
        self._children[place] = child
        child.page.renew(self._lease_since_at, self._lease_until_at)
        loop = asyncio.get_running_loop()
        loop.add_reader(child.pidfd, self._ended, place)
        loop.add_reader(child.report_fd, self._read_reports, place)

    def _environ_of(self, place: ExecutorPlace) -> Mapping[str, str]:
        if not self._devices:
            return self._environ
        return {**self._environ, "CUDA_VISIBLE_DEVICES": self._devices[place.index % len(self._devices)]}

    def _ended(self, place: ExecutorPlace) -> None:
        child = self._children[place]
        reaped = child.reap()
        if reaped is None:
            return
        status, peak_bytes = reaped
        self._read_reports(place)
        loop = asyncio.get_running_loop()
        loop.remove_reader(child.pidfd)
        loop.remove_reader(child.report_fd)
        del self._children[place]
        ending = child.page.ending
        recycled = status == 0 and ending is not None
        expected = ending if recycled or ending is Ending.LEASE else None
        blame, counts = child.end()
        self._counts = self._counts.plus(counts)
        reason = self._exit_reasons.pop(place, None) or exit_reason_by(self._decode(status, expected), blame)
        if recycled or (place.is_asked_to_end and status == 0):
            reason = reason._replace(running=None, suspects=0, ended=(), unexplained=False)
        if place.is_asked_to_end and place.is_killed:
            reason = ExitReason(DRAIN_OVER, None)
        elif not (place.is_asked_to_end or place.is_killed):
            self.exits[KINDS[reason.cause.kind]] += 1
            self._log_end(child, place, reason, peak_bytes)
        place.emptied(self._clock(), well=recycled or reason.cause.kind == cause.HUNG)
        self._listener.ended(child.number, reason)
        self._listener.changed()

    def _decode(self, status: int, ending: Ending | None) -> Cause:
        if ending is Ending.TASKS:
            return Cause(cause.RECYCLE, f"replaced after {counted(self._config.max_tasks or 0, 'task')}")
        if ending is Ending.MEMORY:
            return Cause(cause.RECYCLE, f"replaced with more than {self._config.max_rss_bytes:,} bytes of memory")
        if ending is Ending.LEASE:
            return LEASE_OVER
        return cause.cause_of_status(status, out_of_memory=self._killed_for_memory())

    def _log_end(self, child: ExecutorProcess, place: ExecutorPlace, reason: ExitReason, peak_bytes: int) -> None:
        recycled = reason.cause.kind == cause.RECYCLE
        log = self._log.debug if recycled else self._log.warning
        log(
            "executor_recycled" if recycled else "executor_died",
            pid=child.pid,
            cause=reason.cause.text,
            task=id_text(reason.running[0]) if reason.running else None,
            ready=place.ready_at is not None,
            peak_bytes=peak_bytes,
        )

    def _killed_for_memory(self) -> bool:
        before, self._oom_kills = self._oom_kills, self.cgroup.out_of_memory_kills
        return self._oom_kills > before

    def _read_reports(self, place: ExecutorPlace) -> None:
        child = self._children[place]
        try:
            reports: list[Report] | None = child.read_reports()
        except DistqError as error:
            self._log.warning("executor_not_understood", pid=child.pid, reason=str(error))
            reports = None
        if reports is None:
            asyncio.get_running_loop().remove_reader(child.report_fd)
            return
        for report in reports:
            self._note(place, child, report)

    def _note(self, place: ExecutorPlace, child: ExecutorProcess, report: Report) -> None:
        log = self._log
        match report:
            case Ready():
                place.ready_at = self._clock()
                self._complaint = ""
                log.debug("executor_started", pid=child.pid)
                self._listener.changed()
            case Unable(reason):
                if not self._listener.unable(reason):
                    self._complain(reason)
            case Connected(stock):
                log.debug("executor_joined", pid=child.pid, stock=stock)
            case Disconnected(reason):
                log.debug("executor_parted", pid=child.pid, reason=reason)
            case Failed(task, name, attempt, why, trace_id):
                log = of_trace(log, trace_id)
                log.warning("task_failed", task=task, name=name, attempt=attempt, cause=why)
            case Succeeded(task, name, attempt, run_s, trace_id):
                log = of_trace(log, trace_id)
                log.debug("task_succeeded", task=task, name=name, attempt=attempt, run_s=round(run_s, 6))
            case Trouble(reason):
                log.warning("executor_troubled", pid=child.pid, reason=reason)

    def _complain(self, reason: str) -> None:
        """Log why no executor works; the same reason is not logged twice in a row."""
        if reason != self._complaint:
            self._complaint = reason
            self._log.error("executor_unable", reason=reason)
