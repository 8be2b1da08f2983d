"""The thread that calls the callbacks of futures: a callback may wait, submit or raise without delaying results."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("distq")


class Callbacks:
    """Calls callbacks one after another, in a thread that starts with the first callback."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._idle = threading.Event()
        self._idle.set()

    def call(self, callback: Callable[[], object]) -> None:
        """Have the callbacks thread call it; call it here if this is closed or no thread can start any more."""
        with self._lock:
            if not self._closed and self._started():
                self._idle.clear()
                self._waiting.put(callback)
                return
        call_safely(callback)

    def wait(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until all callbacks were called; return immediately in a callback."""
        if threading.current_thread() is not self._thread:
            self._idle.wait(timeout_s)

    def close(self) -> None:
        """Let the thread end after it has called all callbacks."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)

    def _started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="distq-callbacks", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while (callback := self._waiting.get()) is not None:
            call_safely(callback)
            del callback  # releases the future, too
            with self._lock:
                if self._waiting.empty():
                    self._idle.set()
        self._idle.set()  # `close` may have come during the last callback: its None was in the queue then


def call_safely(callback: Callable[[], object]) -> None:
    """Call a callback; an exception that it raises is logged, and ends neither the thread nor the program.

    Only KeyboardInterrupt (Ctrl-C) in the main thread is raised again: it is for the program.
    """
    try:
        callback()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        log.exception("A done-callback has raised.")
