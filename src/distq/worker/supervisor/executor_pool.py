"""The executors of one worker: started, listened to, buried, counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.core.task import id_text
from distq.logs import of_trace
from distq.tasks.failure import overrun_text
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.page import Counts, Ending
from distq.worker.shared.reports import Failed, Joined, Parted, Ready, Report, Succeeded, Trouble, Unable
from distq.worker.shared.resident_memory import resident_bytes
from distq.worker.supervisor import cause
from distq.worker.supervisor.cause import Cause
from distq.worker.supervisor.executor_process import ExecutorProcess
from distq.worker.supervisor.exits import (
    DRAIN_OVER,
    KINDS,
    LEASE_OVER,
    NOT_STARTED,
    TOLD_TO_STOP,
    ExitReason,
    PoolListener,
    exit_reason_by,
    exit_reason_of,
)
from distq.worker.supervisor.memory import Cgroup
from distq.worker.supervisor.memory_guard import MemoryGuard, guarded
from distq.worker.supervisor.output import ExecutorOutputs
from distq.worker.supervisor.plan import Action, Ask, Kill, Slot, Spawn
from distq.worker.supervisor.watchdog import LEAVE_S, Need

STACK_CHECK_S: Final = 0.02
STACK_CHECKS: Final = 50
REORDER_S: Final = 0.001
"""After so long every processor sees that a batch is revoked, and we see what began before."""


class ExecutorPool:
    """All executors."""

    def __init__(
        self,
        orders: ExecutorConfig,
        size: int,
        environ: Mapping[str, str],
        devices: Sequence[str],
        chief: PoolListener,
        log: FilteringBoundLogger,
        clock: Clock,
        cgroup: Cgroup,
    ) -> None:
        self.slots = [Slot(index) for index in range(size)]
        self.exits: Counter[str] = Counter()
        """How many ended without being told to, by cause."""
        self.cgroup = cgroup
        self._orders = orders
        self._environ = environ
        self._devices = devices
        """What executors get of the machine's devices, one each, in turn."""
        self._listener = chief
        self._log = log
        self._clock = clock
        self._children: dict[Slot, ExecutorProcess] = {}
        self._verdicts: dict[Slot, ExitReason] = {}
        self._guard = MemoryGuard()
        self._counts = Counts()
        self._numbers = 0
        self._oom_kills = self.cgroup.out_of_memory_kills
        self._said = ""
        self.outputs = ExecutorOutputs()
        self._lease_since_at = self._lease_until_at = 0.0
        """What the executors have leased since then is given to nobody else until then."""

    @property
    def busy(self) -> int:
        """How many tasks run now."""
        return sum(len(child.page.all_running) for child in self._children.values())

    @property
    def executor_slots(self) -> int:
        """How many tasks run at once, if there are as many."""
        return len(self.slots) * self._orders.executor_slots

    @property
    def up(self) -> int:
        """How many executors have imported the handler."""
        return sum(slot.ready_at is not None for slot in self.slots)

    @property
    def counts(self) -> Counts:
        """What all executors have done so far, the dead ones included."""
        total = self._counts
        for child in self._children.values():
            total = total.plus(child.page.counts)
        return total

    @property
    def pids(self) -> list[int]:
        """The living executors."""
        return [child.pid for child in self._children.values()]

    @property
    def resident_bytes(self) -> int:
        """The memory that the executors and this process use."""
        return resident_bytes("self") + sum(map(resident_bytes, self.pids))

    def obey(self, action: Action) -> None:
        """Do what the plan says."""
        match action:
            case Spawn(slot):
                self._spawn(slot)
            case Ask(slot):
                slot.asked = True
                self._children[slot].ask()
            case Kill(slot):
                slot.killed = True
                self._children[slot].kill()

    @property
    def held(self) -> list[tuple[int, int, int]]:
        """What the executors hold: whose number, task and delivery."""
        return [(child.number, *delivery) for child in self._children.values() for delivery in child.page.held]

    def renew(self, since_s: float, until_s: float) -> None:
        """The master has heard of us: what the executors have leased since then is theirs until then."""
        self._fence(self._clock())  # once a lease is over nothing renews it
        self._lease_since_at, self._lease_until_at = since_s, max(self._lease_until_at, until_s)
        for child in self._children.values():
            child.page.renew(since_s, self._lease_until_at)

    def _fence(self, now: float) -> None:
        """When the lease is over, end those that run what must end with it, and have not ended themselves."""
        if now < self._lease_until_at:
            return
        for slot, child in self._children.items():
            if child.page.fenced and slot not in self._verdicts:
                self._kill(slot, exit_reason_of(LEASE_OVER, child.page.all_running))

    def check(self) -> None:
        """See to it that no task waits behind a long one, and that none runs beyond its limit, or its lease."""
        now = self._clock()
        self._fence(now)
        for slot, child in list(self._children.items()):
            match child.check(now):
                case Need.NOTHING:
                    pass
                case Need.REVOKE:
                    if isinstance(child.page, BatchPage):
                        self._revoke(slot, child, child.page)
                case Need.STACK:
                    child.page.forget_stack()
                    child.ask_for_stack()
                case Need.STOP:
                    self._kill(slot, ExitReason(TOLD_TO_STOP, child.watchdog.blamed))
                case Need.KILL:
                    end = Cause(cause.TIMEOUT, overrun_text(child.watchdog.limit_s))
                    self._kill(slot, ExitReason(end, child.watchdog.blamed, stack=child.page.stack))
                case Need.END:
                    self._end_hung(slot, child)

    def _end_hung(self, slot: Slot, child: ExecutorProcess) -> None:
        """End an executor that has done its work and does not end: its slot is needed."""
        if slot in self._verdicts:
            return
        self._log.warning("executor_end_hung", pid=child.pid, after_s=LEAVE_S, stack=child.page.stack)
        self._kill(slot, ExitReason(Cause(cause.HUNG, f"it had not ended {LEAVE_S:g} s after its last task"), None))

    def stop(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Have these tasks stop, and not begin."""
        for slot, child in self._children.items():
            running = child.page.all_running
            for task, delivery in deliveries:
                if (task, delivery) in running:
                    child.page.stop(task, delivery)
                    child.watchdog.stop((task, delivery), self._clock())
                    child.ask_to_stop()
                elif isinstance(child.page, BatchPage) and child.page.is_behind(task, delivery):
                    self._revoke(slot, child, child.page)

    def where(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Find out where these tasks are; the chief is told."""
        running = {one: child for child in self._children.values() for one in child.page.all_running}
        for delivery in deliveries:
            child = running.get(delivery)
            if child is None:
                self._listener.found(delivery, "")
            else:
                child.page.forget_stack()
                child.ask_for_stack()
                asyncio.get_running_loop().call_later(STACK_CHECK_S, self._found, child, delivery, STACK_CHECKS)

    def _found(self, child: ExecutorProcess, delivery: tuple[int, int], looks: int) -> None:
        """Look whether an executor has left its stack, and whether it is that of the task."""
        here = child in self._children.values() and delivery in child.page.all_running
        stack = child.page.stack if here else ""
        if here and looks and not stack:
            asyncio.get_running_loop().call_later(STACK_CHECK_S, self._found, child, delivery, looks - 1)
        else:
            self._listener.found(delivery, stack)

    def _revoke(self, slot: Slot, child: ExecutorProcess, word: BatchPage) -> None:
        """Take back what an executor has not begun."""
        batch = word.place.batch
        word.revoke(batch)
        asyncio.get_running_loop().call_later(REORDER_S, self._take_back, slot, child, word, batch)

    def guard(self) -> None:
        """End the largest executor if memory is about to run out."""
        memory = self.cgroup.memory
        if memory.limit_bytes is None or not self._guard.is_near(memory):
            return
        sizes = {child.pid: resident_bytes(child.pid) for child in self._children.values()}
        victim = self._guard.victim(memory, self.cgroup.cached_bytes, sizes, self._clock())
        for slot, child in self._children.items():
            if child.pid == victim:
                self._kill(slot, exit_reason_by(guarded(memory.limit_bytes), child.page.blame))

    def _kill(self, slot: Slot, verdict: ExitReason) -> None:
        self._verdicts[slot] = verdict
        self._children[slot].kill()

    def _take_back(self, slot: Slot, child: ExecutorProcess, word: BatchPage, batch: int) -> None:
        if self._children.get(slot) is not child:
            return  # it has died meanwhile, and all that it held goes back
        place = word.place
        if place.batch == batch:
            deliveries = word.unstarted(place)
            word.returned(batch)
            if deliveries:
                self._listener.returned(deliveries)

    def reap(self, pid: int) -> bool:
        """See whether an executor with this pid has ended; False if there is none."""
        for slot, child in self._children.items():
            if child.pid == pid:
                self._ended(slot)
                return True
        return False

    def _spawn(self, slot: Slot) -> None:
        self._numbers += 1
        try:
            child = ExecutorProcess.spawn(self._orders._replace(number=self._numbers), self._environ_of(slot))
        except OSError as error:
            slot.emptied(self._clock())
            self._complain(f"{NOT_STARTED}: {error.strerror}")
            return
        slot.filled(child.pid)
        self.outputs.add(child.output)
        self._children[slot] = child
        child.page.renew(self._lease_since_at, self._lease_until_at)
        loop = asyncio.get_running_loop()
        loop.add_reader(child.pidfd, self._ended, slot)
        loop.add_reader(child.report_fd, self._hear, slot)

    def _environ_of(self, slot: Slot) -> Mapping[str, str]:
        if not self._devices:
            return self._environ
        return {**self._environ, "CUDA_VISIBLE_DEVICES": self._devices[slot.index % len(self._devices)]}

    def _ended(self, slot: Slot) -> None:
        child = self._children[slot]
        reaped = child.reap()
        if reaped is None:
            return
        status, peak_bytes = reaped
        self._hear(slot)
        loop = asyncio.get_running_loop()
        loop.remove_reader(child.pidfd)
        loop.remove_reader(child.report_fd)
        del self._children[slot]
        ending = child.page.ending
        recycled = status == 0 and ending is not None
        told = ending if recycled or ending is Ending.LEASE else None
        blame, counts = child.end()
        self._counts = self._counts.plus(counts)
        verdict = self._verdicts.pop(slot, None) or exit_reason_by(self._decode(status, told), blame)
        if recycled or (slot.asked and status == 0):
            verdict = verdict._replace(running=None, suspects=0, begun=(), unexplained=False)
        if slot.asked and slot.killed:
            verdict = ExitReason(DRAIN_OVER, None)
        elif not (slot.asked or slot.killed):
            self.exits[KINDS[verdict.end.kind]] += 1
            self._log_end(child, slot, verdict, peak_bytes)
        slot.emptied(self._clock(), well=recycled or verdict.end.kind == cause.HUNG)
        self._listener.ended(child.number, verdict)
        self._listener.changed()

    def _decode(self, status: int, ending: Ending | None) -> Cause:
        if ending is Ending.TASKS:
            return Cause(cause.RECYCLE, f"replaced after {self._orders.max_tasks} tasks")
        if ending is Ending.MEMORY:
            return Cause(cause.RECYCLE, f"replaced with more than {self._orders.max_rss_bytes:,} bytes of memory")
        if ending is Ending.LEASE:
            return LEASE_OVER
        return cause.decode(status, out_of_memory=self._killed_for_memory())

    def _log_end(self, child: ExecutorProcess, slot: Slot, verdict: ExitReason, peak_bytes: int) -> None:
        recycled = verdict.end.kind == cause.RECYCLE
        log = self._log.debug if recycled else self._log.warning
        log(
            "executor_recycled" if recycled else "executor_died",
            pid=child.pid,
            cause=verdict.end.text,
            task=id_text(verdict.running[0]) if verdict.running else None,
            ready=slot.ready_at is not None,
            peak_bytes=peak_bytes,
        )

    def _killed_for_memory(self) -> bool:
        before, self._oom_kills = self._oom_kills, self.cgroup.out_of_memory_kills
        return self._oom_kills > before

    def _hear(self, slot: Slot) -> None:
        child = self._children[slot]
        try:
            reports: list[Report] | None = child.hear()
        except DistqError as error:
            self._log.warning("executor_not_understood", pid=child.pid, reason=str(error))
            reports = None
        if reports is None:
            asyncio.get_running_loop().remove_reader(child.report_fd)
            return
        for report in reports:
            self._note(slot, child, report)

    def _note(self, slot: Slot, child: ExecutorProcess, report: Report) -> None:
        log = self._log
        match report:
            case Ready():
                slot.ready_at = self._clock()
                self._said = ""
                log.debug("executor_started", pid=child.pid)
                self._listener.changed()
            case Unable(reason):
                if not self._listener.unable(reason):
                    self._complain(reason)
            case Joined(stock):
                log.debug("executor_joined", pid=child.pid, stock=stock)
            case Parted(reason):
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
        """Say once why no executor works; the same reason again is not news."""
        if reason != self._said:
            self._said = reason
            self._log.error("executor_unable", reason=reason)
