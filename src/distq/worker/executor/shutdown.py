"""The request to end an executor (SIGTERM): a flag to read between tasks, and a descriptor to wait on."""

import os
import signal
import threading
from contextlib import suppress

from distq.worker.executor.process_state import ProcessState


class ShutdownFlag:
    """Whether this executor has been asked to end."""

    def __init__(self) -> None:
        self.is_set = False
        self.is_forked = False
        """Whether this is a child that a task has forked: it must not go on as if it were the executor."""
        self._forking = threading.local()
        """The signal mask of a thread that forks, from before the fork."""
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)

    def fileno(self) -> int:
        """A descriptor that is readable once the executor has been asked to end."""
        return self._read_fd

    def listen(self, state: ProcessState) -> None:
        """Take over SIGTERM; Ctrl-C is for the supervisor alone, which passes it on as SIGTERM."""
        # A handler that does nothing, not SIG_IGN: programs that a task starts would inherit that, and miss the signal.
        state.own(signal.SIGINT, lambda _number, _frame: None)
        state.own(signal.SIGTERM, lambda _number, _frame: self.set())
        # A process that the task forks must end on SIGTERM like any other, without a request to end the executor. Until
        # it has the default handlers the signals are blocked: CPython forgets those that it has only noted at a fork.
        os.register_at_fork(before=self._before_fork, after_in_parent=self._unblock, after_in_child=self._after_fork)

    def set(self) -> None:
        """Make the request; safe in a signal handler."""
        self.is_set = True
        with suppress(OSError):  # the pipe is full, or a task has closed it; the flag is set
            os.write(self._write_fd, b"\0")

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _before_fork(self) -> None:
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)

    def _after_fork(self) -> None:
        self.is_forked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._unblock()
