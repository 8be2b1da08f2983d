"""Wakes a thread that polls descriptors, from any thread or signal handler."""

import os
import select

from distq.worker.executor.process_state import timer_s


class WakeupPipe:
    """A pipe whose bytes mean nothing; it takes no lock, which a signal handler might have to wait for."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._poll = select.poll()
        self._poll.register(self._read_fd, select.POLLIN)

    def fileno(self) -> int:
        """A descriptor that is readable from `set` to `clear`."""
        return self._read_fd

    def set(self) -> None:
        """Wake the thread that waits, or end its next wait immediately."""
        try:
            os.write(self._write_fd, b"\0")
        except BlockingIOError:
            pass  # the pipe is full, so it is readable

    def clear(self) -> None:
        """Forget every `set` so far."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            pass  # the pipe is empty

    def wait(self, timeout_s: float | None) -> None:
        """Wait until `set`, for at most `timeout_s` or a day; for ever if it is None."""
        self._poll.poll(None if timeout_s is None else timer_s(timeout_s) * 1000 + 1)
        self.clear()
