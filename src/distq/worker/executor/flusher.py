"""A thread that looks after a batch while a task of it runs long; it costs short tasks nothing.

It sleeps while there is nothing to look after, and then the main thread has to wake it.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

CHECK_S: Final = 0.05
END_S: Final = 1.0
"""How long the thread may take to end: it can be in an exchange with a master that does not answer."""


class Flusher:
    """The thread and its sleep."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self.is_asleep = True
        """Whether it must be woken to look."""
        self._check = look
        self._waking = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def wake(self) -> None:
        """Have it look, every 50 ms, until there is nothing more to look after."""
        self.is_asleep = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
            self._thread.start()
        self._waking.set()

    def end(self) -> None:
        """End the thread."""
        self._ended = True
        self._waking.set()
        if self._thread is not None:
            self._thread.join(END_S)

    def _run(self) -> None:
        while not self._ended:
            time.sleep(CHECK_S)
            if self._check():
                continue
            # Both are looked at again once the event is cleared: what was set before is not waited for.
            self._waking.clear()
            self.is_asleep = True
            if self._ended:
                return
            if self._check():
                self.is_asleep = False
                continue
            self._waking.wait()
