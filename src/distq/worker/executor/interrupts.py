"""Interrupts the task of a one-task executor: raises an exception at its time limit, or when it was cancelled.

A task that catches the exception, or runs C code that does not return, is killed two seconds later by the supervisor,
which reads the limit and the beginning in the shared page; before that the executor writes its stack there.
"""

import math
import os
import signal
from contextvars import copy_context
from types import FrameType
from typing import Final

from distq.core.outcome import Outcome
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, overrun_text
from distq.tasks.payload import run_payload
from distq.worker.executor.exchange import escaped
from distq.worker.executor.functions import PayloadRunner, failed_by_limit
from distq.worker.executor.handler import RunOutcome, run_handler
from distq.worker.executor.process_state import STOP_SIGNAL, ProcessState, timer_s
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import Clock
from distq.worker.shared.page import PAGE_BYTES, Ending, ExecutorPage

SOON_S: Final = 0.001
"""Minimum seconds of the timer; 0 would switch it off."""
USER_CODE: Final = (run_payload.__code__, run_handler.__code__)
"""The functions that call a task's own code."""


class Interrupts:
    """The timer and the stop signal of one executor; its methods are called in the main thread."""

    def __init__(self, page: BatchPage, clock: Clock) -> None:
        self._page = page
        self._clock = clock
        self._armed = False
        self._limit_s = math.inf
        self._over_at = math.inf
        """When the time limit is over, by the clock given."""
        self._is_lease_bound = False
        self.state = ProcessState()
        """What the executor restores after each task."""

    def listen(self, state: ProcessState) -> None:
        """Take over the signals that interrupt a task."""
        self.state = state
        state.own(signal.SIGALRM, self._timer_fired)
        state.own(STOP_SIGNAL, self._stop_signalled)
        os.lseek(self._page.fd, PAGE_BYTES, os.SEEK_SET)
        state.write_stacks_to(self._page.fd, all_threads=False)

    def run(
        self, run: PayloadRunner, payload: bytes, limit_s: float | None, leased_at: float | None = None
    ) -> bytes | RunOutcome:
        """Run a payload in a context of its own, for at most `limit_s`; every exception becomes an outcome.

        For a lease-bound task `leased_at` is when its lease was requested; it is released if that lease is over.
        """
        try:
            if limit_s is None and leased_at is None:
                return copy_context().run(run, payload)
            return self._limited(run, payload, limit_s, leased_at)
        except BaseException as error:  # noqa: BLE001 - from distq's own code, or from classes of the task
            return escaped(error)

    def _limited(
        self, run: PayloadRunner, payload: bytes, limit_s: float | None, leased_at: float | None
    ) -> bytes | RunOutcome:
        began_at = self._clock()
        self._is_lease_bound = is_lease_bound = leased_at is not None
        if is_lease_bound:
            self._page.set_lease_bound(lease_bound=True)
        if limit_s is not None:
            self._limit_s, self._over_at = limit_s, began_at + limit_s
            self._page.set_limit(limit_s, began_at)
        try:
            self._armed = True
            self._set_timer(began_at)
            # Read only now, as the timer and the supervisor know of the task: if the lease ends later, they end it.
            begins = leased_at is None or self._page.has_lease(leased_at, self._clock())
            ran = copy_context().run(run, payload) if begins else RunOutcome(Outcome.RELEASED, b"")
            self._armed = False
        except TimeLimitExceeded as error:
            # The timer fired when the task had ended and the timer was still armed.
            ran = failed_by_limit(error)
        finally:
            self._armed = self._is_lease_bound = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._over_at = math.inf
            self._page.set_limit(0.0, 0.0)
            if is_lease_bound:
                self._page.set_lease_bound(lease_bound=False)
        return ran

    def _set_timer(self, now: float) -> None:
        """Set the timer to the time limit, or to the end of the lease if that comes first."""
        at = min(self._over_at, self._page.lease_until_at) if self._is_lease_bound else self._over_at
        signal.setitimer(signal.ITIMER_REAL, max(timer_s(at - now), SOON_S))

    def _stop_signalled(self, _number: int, frame: FrameType | None) -> None:
        if self._page.is_stopping and _in_user_code(frame):
            raise TaskStopped("the task was cancelled while it ran.")

    def _timer_fired(self, _number: int, _frame: FrameType | None) -> None:
        if not self._armed:
            return
        now = self._clock()
        if self._is_lease_bound and now >= self._page.lease_until_at:
            # This is also the first thing to run after the process was stopped for longer: before the task's code.
            end_for_lease(self._page)
        if now >= self._over_at:
            self._armed = False
            raise TimeLimitExceeded(overrun_text(self._limit_s))
        self._set_timer(now)


def end_for_lease(page: ExecutorPage) -> None:
    """Kill this executor and the processes that its tasks have started: the master may lease its task again."""
    page.set_ending(Ending.LEASE)
    os.killpg(os.getpid(), signal.SIGKILL)


def _in_user_code(frame: FrameType | None) -> bool:
    """Whether the frame is within a task's own code: only there an exception interrupts the task."""
    while frame is not None:
        if frame.f_code in USER_CODE:
            return True
        frame = frame.f_back
    return False
