"""What interrupts a task inside its executor: an exception when its time is over, or when it was cancelled.

A task that swallows it, or is in C code that does not return, is killed a little later by the supervisor, which
has read limit and beginning in the shared word; first the executor leaves its stack there.
"""

import math
import os
import signal
from contextvars import copy_context
from types import FrameType
from typing import Final

from distq.core.task import Outcome
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, overrun_text
from distq.tasks.payload import run_payload
from distq.worker.executor.functions import Run, failed_by_limit
from distq.worker.executor.handler import Ran, run_handler
from distq.worker.executor.process_state import STOP_SIGNAL, ProcessState, timer_s
from distq.worker.executor.rows import escaped
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import Clock
from distq.worker.shared.page import PAGE_BYTES, Ending, ExecutorPage

SOON_S: Final = 0.001
USER_CODE: Final = (run_payload.__code__, run_handler.__code__)


class Interrupts:
    """The alarm of one executor; its methods are for the main thread."""

    def __init__(self, word: BatchPage, clock: Clock) -> None:
        self._page = word
        self._clock = clock
        self._armed = False
        self._limit_s = math.inf
        self._over_at = math.inf
        """When the time limit is over."""
        self._fenced = False
        self.state = ProcessState()
        """What is put back after each task."""

    def listen(self, state: ProcessState) -> None:
        """Take over the signals that limits need."""
        self.state = state
        state.own(signal.SIGALRM, self._rings)
        state.own(STOP_SIGNAL, self._stops)
        os.lseek(self._page.fd, PAGE_BYTES, os.SEEK_SET)
        state.leaves_stacks(self._page.fd, all_threads=False)

    def run(self, run: Run, payload: bytes, limit_s: float | None, leased_at: float | None = None) -> bytes | Ran:
        """Run a payload in a context of its own, for at most `limit_s`; whatever comes out of it is an answer.

        If it must end with its lease, `leased_at` says when it was asked for; it is handed back if the lease is over.
        """
        try:
            if limit_s is None and leased_at is None:
                return copy_context().run(run, payload)
            return self._limited(run, payload, limit_s, leased_at)
        except BaseException as error:  # noqa: BLE001 - out of our own code, or of the task's classes
            return escaped(error)

    def _limited(self, run: Run, payload: bytes, limit_s: float | None, leased_at: float | None) -> bytes | Ran:
        began_s = self._clock()
        self._fenced = fenced = leased_at is not None
        if fenced:
            self._page.fence(fenced=True)
        if limit_s is not None:
            self._limit_s, self._over_at = limit_s, began_s + limit_s
            self._page.limits(limit_s, began_s)
        try:
            self._armed = True
            self._set(began_s)
            # Looked at when alarm and supervisor know of it: whatever happens from now on, one of them ends it.
            begins = leased_at is None or self._page.has_lease(leased_at, self._clock())
            ran = copy_context().run(run, payload) if begins else Ran(Outcome.RELEASED, b"")
            self._armed = False
        except TimeLimitExceeded as error:
            # It rang in the moment in which the task had ended, and before it was told.
            ran = failed_by_limit(error)
        finally:
            self._armed = self._fenced = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._over_at = math.inf
            self._page.limits(0.0, 0.0)
            if fenced:
                self._page.fence(fenced=False)
        return ran

    def _set(self, now: float) -> None:
        """Have the alarm ring when there may be something to do."""
        at = min(self._over_at, self._page.lease_until_at) if self._fenced else self._over_at
        signal.setitimer(signal.ITIMER_REAL, max(timer_s(at - now), SOON_S))

    def _stops(self, _number: int, frame: FrameType | None) -> None:
        if self._page.stopping and _in_user_code(frame):
            raise TaskStopped("the task was cancelled while it ran.")

    def _rings(self, _number: int, _frame: FrameType | None) -> None:
        if not self._armed:
            return
        now = self._clock()
        if self._fenced and now >= self._page.lease_until_at:
            # Also the first thing that happens after we were stopped for longer: nothing of the task runs any more.
            end_for_lease(self._page)
        if now >= self._over_at:
            self._armed = False
            raise TimeLimitExceeded(overrun_text(self._limit_s))
        self._set(now)


def end_for_lease(page: ExecutorPage) -> None:
    """End this executor, and what its tasks have started, now: another may be given what it runs."""
    page.ends(Ending.LEASE)
    os.killpg(os.getpid(), signal.SIGKILL)


def _in_user_code(frame: FrameType | None) -> bool:
    """Whether a task's function is being called: only there is an exception the task's own."""
    while frame is not None:
        if frame.f_code in USER_CODE:
            return True
        frame = frame.f_back
    return False
