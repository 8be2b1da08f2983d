"""The flusher: a thread that checks a batch every 50 ms while one of its tasks runs long; it costs short tasks nothing.

The thread sleeps while there is nothing to check; the main thread must wake it.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

CHECK_S: Final = 0.05
END_S: Final = 1.0
"""Maximum seconds to wait for the thread's end: it may be in an exchange with a master that does not answer."""


class Flusher:
    """The thread and its sleep."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self.is_asleep = True
        """Whether the thread sleeps, so that the main thread must wake it."""
        self._check = look
        self._waking = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def wake(self) -> None:
        """Make the thread check every 50 ms until there is nothing more to check."""
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
            # Check both again after the event is cleared: a `wake` or `end` before that would otherwise be missed.
            self._waking.clear()
            self.is_asleep = True
            if self._ended:
                return
            if self._check():
                self.is_asleep = False
                continue
            self._waking.wait()
