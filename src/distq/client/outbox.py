"""What a client has not sent yet: filled by callers, emptied in batches by one thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final, NamedTuple

from distq.client.future import TaskFuture
from distq.tasks.function import TaskSpec

BATCH_TASKS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 8 << 20
UNACCEPTED_MAX: Final = 10_000
"""So many tasks may wait for the master's word before `submit` blocks."""


class Sending(NamedTuple):
    """One task on its way to the master."""

    spec: TaskSpec
    body: bytes
    future: TaskFuture[Any]


class Outbox:
    """Tasks in the order of their submits, with room for so many."""

    def __init__(self) -> None:
        self._waiting: deque[Sending] = deque()
        self._under_way = 0
        self._filled = threading.Event()
        self._changed = threading.Condition()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._under_way)

    @property
    def full(self) -> bool:
        """Whether the next task must wait."""
        return len(self._waiting) + self._under_way >= UNACCEPTED_MAX

    def put(self, sending: Sending) -> None:
        """Add a task."""
        self._waiting.append(sending)
        if not self._filled.is_set():
            self._filled.set()

    def withdraw(self, future: TaskFuture[Any]) -> bool:
        """Take a task back out, if it was not sent yet."""
        for sending in list(self._waiting):
            if sending.future is future:
                try:
                    self._waiting.remove(sending)
                except ValueError:
                    return False
                return True
        return False

    def next_batch(self) -> list[Sending] | None:
        """Wait for tasks and take as many as go into one submit; None once closed and empty."""
        while not self._waiting:
            if self._closed:
                return None
            self._filled.wait()
            self._filled.clear()
        batch: list[Sending] = []
        size = 0
        while self._waiting and len(batch) < BATCH_TASKS_MAX and size < BATCH_BYTES_MAX:
            self._under_way += 1
            try:
                sending = self._waiting.popleft()
            except IndexError:  # withdrawn just now
                self._under_way -= 1
                break
            batch.append(sending)
            size += len(sending.body)
        return batch or self.next_batch()

    def sent(self, count: int) -> None:
        """So many of those taken were answered."""
        self._under_way -= count
        with self._changed:
            self._changed.notify_all()

    def take_all(self) -> list[Sending]:
        """Take out everything that was not sent."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another task may be put; False if the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.full, max(timeout_s, 0.0))

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until everything was answered."""
        with self._changed:
            return self._changed.wait_for(lambda: not self, max(timeout_s, 0.0))

    def close(self) -> None:
        """Have `next_batch` return None once it is empty."""
        self._closed = True
        self._filled.set()
