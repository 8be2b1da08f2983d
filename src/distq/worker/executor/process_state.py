"""The process state that an executor restores after its tasks: signal handlers, mask, alarm, wake-up descriptor.

Libraries replace signal handlers and do not restore them. The executor needs some signals itself (SIGTERM to end,
SIGALRM and SIGUSR2 to interrupt a task, SIGUSR1 to write its stack), and a handler or alarm that one task has set must
not affect later tasks. The executor compares Python's own table of handlers after each task, which costs 0.4 us. State
that only the kernel knows (handlers of C libraries, the mask) it sets again before each batch and after each task that
ran for at least `RESTORE_ALL_S`, which costs 6 us.

The executor does not restore the current folder, umask, environment, locale, resource limits, `sys.path`, `sys.stdout`,
the profiling timers and the variables of modules: it would cost more, or undo what a task's module has set on purpose.
"""

from __future__ import annotations

import faulthandler
import math
import signal

# The public functions of `signal` convert each result to an Enum, which costs ten times as much as the rest.
from _signal import getsignal, pthread_sigmask, set_wakeup_fd, setitimer  # type: ignore[import-not-found]
from _signal import signal as set_handler
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

Handler = Callable[[int, FrameType | None], object]

RESTORE_ALL_S: Final = 0.0005
"""Minimum run time, in seconds, of a task after which the executor restores everything without a comparison; after a
shorter task it does so only if Python's table of handlers has changed, because restoring costs 6 us."""
STACK_SIGNAL: Final = signal.SIGUSR1
"""The signal on which an executor writes its stack, also while C code runs."""
STOP_SIGNAL: Final = signal.SIGUSR2
"""The signal on which an executor stops the task that its page names."""
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
    """The restored state of one executor's process; only the main thread calls its methods."""

    def __init__(self) -> None:
        self._own: dict[int, Handler] = {}
        self._initial: tuple[Any, ...] | None = None
        self._wakeup_fd = -1
        self._stack_fd = -1
        self._stack_of_all_threads = False
        self._after_restore: Callable[[], object] = bool

    def own(self, number: int, handler: Handler) -> None:
        """Install the executor's handler of a signal, and keep it until the executor ends."""
        self._own[int(number)] = handler
        set_handler(number, handler)

    def write_stacks_to(self, fd: int, *, all_threads: bool) -> None:
        """Write the stack to this descriptor on each STACK_SIGNAL, also while C code runs."""
        self._stack_fd, self._stack_of_all_threads = fd, all_threads
        self._register_stacks()

    def start(self, again: Callable[[], object]) -> None:
        """Record the present state as the state that every task finds; the executor calls this after all imports.

        Each `restore` ends with a call of `again`, which checks whether a signal has arrived that a task's own handler
        has taken.
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
        """Restore the state after a task that ran for `run_s` seconds, if it was long or changed a handler."""
        if run_s >= RESTORE_ALL_S or tuple(map(getsignal, _WATCHED)) != self._initial:
            self.restore()

    def restore(self) -> None:
        """Restore everything."""
        usual = self._initial
        if usual is None:
            return
        setitimer(signal.ITIMER_REAL, 0)  # first: the task's alarm must not call the executor's handler
        set_wakeup_fd(self._wakeup_fd)
        for number, handler in zip(_WATCHED, usual, strict=True):
            # None stands for a handler that C code has set; Python cannot set it again, so it stays as it is.
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
"""Maximum time, in seconds, for which a timer is set; a timer for a longer time is set again when it expires. Some time
limits exceed what the system's timers accept (poll: 24 days; setitimer: the range of a C integer)."""


def timer_s(left_s: float) -> float:
    """Return for how many seconds to set a timer that expires in `left_s` seconds, or never (infinity)."""
    return LONGEST_TIMER_S if math.isnan(left_s) else min(max(left_s, 0.0), LONGEST_TIMER_S)


def clear_mask_of_thread() -> None:
    """Unblock all signals in the present thread, because a process that its next task starts inherits the mask."""
    pthread_sigmask(signal.SIG_SETMASK, _NO_SIGNALS)
