"""Time limits inside an executor: an exception in the task when its time is over.

A task that swallows it, or is in C code that does not return, is killed a little later by the supervisor, which
has read limit and beginning in the shared word; first the executor leaves its stack there.
"""

import faulthandler
import os
import signal
from types import FrameType
from typing import Final

from distq.tasks.failure import TimeLimitExceeded, overrun_text
from distq.worker.clock import Clock
from distq.worker.functions import Run, failed_by_limit
from distq.worker.handler import Ran
from distq.worker.word import WORD_BYTES, Word

STACK_SIGNAL: Final = signal.SIGUSR1
"""Asks an executor for its stack, also while C code runs."""


class Limits:
    """The alarm of one executor; its methods are for the main thread."""

    def __init__(self, word: Word, clock: Clock) -> None:
        self._word = word
        self._clock = clock
        self._armed = False
        self._limit_s = 0.0

    def listen(self) -> None:
        """Take over the signals that limits need."""
        signal.signal(signal.SIGALRM, self._rings)
        os.lseek(self._word.fd, WORD_BYTES, os.SEEK_SET)
        faulthandler.register(STACK_SIGNAL, file=self._word.fd, all_threads=False)

    def run(self, run: Run, payload: bytes, limit_s: float) -> bytes | Ran:
        """Run a payload for at most so long."""
        self._limit_s = limit_s
        self._word.limits(limit_s, self._clock())
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            ran = run(payload)
            self._armed = False
        except TimeLimitExceeded as error:
            # It rang in the moment in which the task had ended, and before it was told.
            ran = failed_by_limit(error)
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._word.limits(0.0, 0.0)
        return ran

    def _rings(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise TimeLimitExceeded(overrun_text(self._limit_s))
