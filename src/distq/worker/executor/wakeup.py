"""A bell: rung by any thread, or by a signal handler, and heard by who waits for it, also among other descriptors."""

import os
import select

from distq.worker.executor.process_state import timer_s


class WakeupPipe:
    """A pipe of which nobody reads what is in it; a lock would be one too many in a signal handler."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._poll = select.poll()
        self._poll.register(self._read_fd, select.POLLIN)

    def fileno(self) -> int:
        """A descriptor that is readable from a ring on, until it is hushed."""
        return self._read_fd

    def set(self) -> None:
        """Have whoever waits go on, now or at the next wait."""
        try:
            os.write(self._write_fd, b"\0")
        except BlockingIOError:
            pass  # it holds thousands of rings that were not heard yet

    def clear(self) -> None:
        """Forget that it was rung."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            pass  # it was not

    def wait(self, timeout_s: float | None) -> None:
        """Wait until it is rung, or until the time is over, at most a day of it; for ever if it is None."""
        self._poll.poll(None if timeout_s is None else timer_s(timeout_s) * 1000 + 1)
        self.clear()
