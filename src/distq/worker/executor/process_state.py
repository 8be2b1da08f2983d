"""What every task finds in its process as the one before it did: signal handlers, mask, alarm, wake-up descriptor.

Libraries take signals over and leave them so. The executor needs some itself (SIGTERM to end, SIGALRM and SIGUSR2 to
interrupt a task, SIGUSR1 for its stack), and later tasks must not be hit by a handler, or an alarm, of one before.
Python's own table of handlers is compared before each task, which costs 0.4 us; what only the kernel knows (handlers of
C libraries, the mask) is set again before each batch and after each task that ran for a while, which costs 6 us.

Not put back, as it would cost more or break what a task's module has set up on purpose: the current folder, umask,
environment, locale, resource limits, `sys.path`, `sys.stdout`, the profiling timers, and modules' own variables.
"""

from __future__ import annotations

import faulthandler
import math
import signal

# The public functions make an Enum of each answer, which costs ten times as much as all the rest.
from _signal import getsignal, pthread_sigmask, set_wakeup_fd, setitimer  # type: ignore[import-not-found]
from _signal import signal as set_handler
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

Handler = Callable[[int, FrameType | None], object]

RESTORE_ALL_S: Final = 0.0005
"""After a task that ran at least this long everything is put back; after shorter ones what Python knows has changed."""
STACK_SIGNAL: Final = signal.SIGUSR1
"""Asks an executor for its stack, also while C code runs."""
STOP_SIGNAL: Final = signal.SIGUSR2
"""Tells an executor that a task which its page names shall stop."""
_WATCHED: Final = tuple(
    map(
        int,
        (
            signal.SIGALRM,
            signal.SIGTERM,
            signal.SIGINT,
            STACK_SIGNAL,
            STOP_SIGNAL,
            signal.SIGCHLD,
            signal.SIGHUP,
            signal.SIGPIPE,
        ),
    )
)
_NO_SIGNALS: Final[tuple[int, ...]] = ()


class ProcessState:
    """The state of one executor's process that is put back; its methods are for the main thread."""

    def __init__(self) -> None:
        self._own: dict[int, Handler] = {}
        self._initial: tuple[Any, ...] | None = None
        self._wakeup_fd = -1
        self._stack_fd = -1
        self._stack_of_all_threads = False
        self._after_restore: Callable[[], object] = bool

    def own(self, number: int, handler: Handler) -> None:
        """Take a signal over, for as long as the executor lives."""
        self._own[int(number)] = handler
        set_handler(number, handler)

    def write_stacks_to(self, fd: int, *, all_threads: bool) -> None:
        """Have STACK_SIGNAL write the stack to this descriptor, which C code that runs does not prevent."""
        self._stack_fd, self._stack_of_all_threads = fd, all_threads
        self._register_stacks()

    def start(self, again: Callable[[], object]) -> None:
        """Take what there is now, when all modules are imported, for what every task finds.

        `again` is called after each time that everything was put back: it finds out what a signal has said that a
        task's own handler has taken.
        """
        self._after_restore = again
        for number, handler in self._own.items():
            set_handler(number, handler)
        if self._stack_fd >= 0:
            self._register_stacks()
        self._wakeup_fd = set_wakeup_fd(-1)
        set_wakeup_fd(self._wakeup_fd)
        self._initial = tuple(map(getsignal, _WATCHED))

    def task_ended(self, run_s: float) -> None:
        """Put back what a task has changed that ran for `run_s`."""
        if run_s >= RESTORE_ALL_S or tuple(map(getsignal, _WATCHED)) != self._initial:
            self.restore()

    def restore(self) -> None:
        """Put everything back."""
        usual = self._initial
        if usual is None:
            return
        setitimer(signal.ITIMER_REAL, 0)  # first: an alarm of the task's must not ring in a handler of ours
        set_wakeup_fd(self._wakeup_fd)
        for number, handler in zip(_WATCHED, usual, strict=True):
            # A handler of None is one that Python has not set, and cannot: it is left as it is.
            if handler is not None and (number in self._own or getsignal(number) is not handler):
                set_handler(number, handler)
        if self._stack_fd >= 0:
            self._register_stacks()
        pthread_sigmask(signal.SIG_SETMASK, _NO_SIGNALS)
        self._after_restore()

    def _register_stacks(self) -> None:
        faulthandler.unregister(STACK_SIGNAL)
        own = self._own.get(int(STACK_SIGNAL))
        if own is not None:
            set_handler(STACK_SIGNAL, own)
        faulthandler.register(
            STACK_SIGNAL, file=self._stack_fd, all_threads=self._stack_of_all_threads, chain=own is not None
        )


LONGEST_TIMER_S: Final = 86_400.0
"""Timers of the system take less than some time limits (poll: 24 days; setitimer: a number of C): each is set for a day
at most and, when it rings, again."""


def timer_s(left_s: float) -> float:
    """For how long to set a timer that shall ring in `left_s` seconds, or never (infinity)."""
    return LONGEST_TIMER_S if math.isnan(left_s) else min(max(left_s, 0.0), LONGEST_TIMER_S)


def clear_mask_of_thread() -> None:
    """Let the present thread hear all signals again, as what its next task starts inherits its mask."""
    pthread_sigmask(signal.SIG_SETMASK, _NO_SIGNALS)
