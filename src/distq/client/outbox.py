"""What a client has not sent yet: filled by callers, emptied in batches by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from distq.client.future import TaskFuture, claim
from distq.client.locks import Wakeup
from distq.core.constraints import Headers
from distq.protocol.submit import WireTuple, with_headers, write_run

BATCH_TASKS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 8 << 20
UNACCEPTED_MAX: Final = 10_000
"""So many tasks may wait for the master's word before `submit` blocks."""

LOOK_S: Final = 0.5
"""How often a flush looks for itself: a caller interrupted by Ctrl-C may have ended the last submit unnoticed."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class SubmitOptions(NamedTuple):
    """How a task is submitted; what is submitted alike travels together."""

    envelope: WireTuple
    when: WireTuple | None = None
    constraints: WireTuple | None = None
    full: float | str | None = None
    """What is done while the queue is full, as `Options.full` has it."""

    def carrying(self, headers: Headers) -> SubmitOptions:
        """The same with further headers."""
        return self._replace(constraints=with_headers(self.constraints, headers)) if headers else self


class PendingSubmit(NamedTuple):
    """One task on its way to the master."""

    options: SubmitOptions
    body: bytes
    future: TaskFuture[Any]

    def run(self, index: int, count: int) -> WireTuple:
        """A run of `count` tasks like this one, as it travels; `index` is that of their envelope."""
        _, when, constraints, _ = self.options
        return write_run(index, count, when, constraints)


class Outbox:
    """Tasks in the order of their submits, with room for so many."""

    def __init__(self) -> None:
        self.waiting: deque[PendingSubmit] = deque()
        """What nobody has begun to send; for others to look at only."""
        self._taken_count = 0
        """How many were taken out by the thread that sends, and not answered yet."""
        self.under_way: Mapping[int, int] = {}
        """Submits that were begun and not answered, those of callers among them: the state machine's own."""
        self._wakeup = Wakeup()
        self._changed = threading.Condition()
        self.closed = False
        """Whether `close` was called: what is put now is not sent any more."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self._taken_count or self.under_way)

    @property
    def full(self) -> bool:
        """Whether the next task must wait."""
        return len(self.waiting) + (self._taken_count or len(self.under_way)) >= UNACCEPTED_MAX

    def put(self, submit: PendingSubmit) -> None:
        """Add a task."""
        self.waiting.append(submit)
        self._wakeup.set()

    def wake(self) -> None:
        """Have `wait_for_tasks` return, even if there is none."""
        self._wakeup.set()

    def wait_for_tasks(self, timeout_s: float | None) -> bool:
        """Wait until there is a task, `timeout_s` is over (None: never), or `rouse` is called.

        False once closed and empty.
        """
        if not self.waiting and not self.closed:
            self._wakeup.wait(timeout_s)
        return bool(self.waiting) or not self.closed

    def take_batch(self) -> list[PendingSubmit]:
        """Take as many tasks as go into one submit."""
        batch: list[PendingSubmit] = []
        while not batch and self.waiting:
            taken: list[PendingSubmit] = []
            size = 0
            while self.waiting and len(taken) < BATCH_TASKS_MAX and size < BATCH_BYTES_MAX:
                self._taken_count += 1  # first, so that it is never in neither place
                try:
                    sending = self.waiting.popleft()
                except IndexError:  # taken out by `take_all` just now
                    self._taken_count -= 1
                    break
                taken.append(sending)
                size += len(sending.body)
            batch = _claimed(taken)
            if len(batch) < len(taken):
                self.sent(len(taken) - len(batch))
        return batch

    def sent(self, count: int) -> None:
        """`count` of those taken were answered."""
        self._taken_count -= count
        self.answered()

    def answered(self) -> None:
        """Submits were answered: there may be room, or nothing left."""
        with self._changed:
            self._changed.notify_all()

    def take_all(self) -> list[PendingSubmit]:
        """Take out everything that was not sent."""
        taken = []
        while self.waiting:
            with suppress(IndexError):  # the thread that sends takes out of the same end
                taken.append(self.waiting.popleft())
        with self._changed:
            self._changed.notify_all()
        return _claimed(taken)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another task may be put; False if the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.full, max(timeout_s, 0.0))

    def wait_until_empty(self, timeout_s: float | None) -> bool:
        """Wait until everything was answered; for ever if `timeout_s` is None."""
        deadline = None if timeout_s is None else _now() + timeout_s
        while self:
            left_s = LOOK_S if deadline is None else min(deadline - _now(), LOOK_S)
            if left_s <= 0:
                return False
            with self._changed:
                self._changed.wait_for(lambda: not self, left_s)
        return True

    def close(self) -> None:
        """Have `wait_for_tasks` return False once it is empty."""
        self.closed = True
        self._wakeup.set()


def _claimed(taken: list[PendingSubmit]) -> list[PendingSubmit]:
    """Those that were not cancelled while they waited."""
    claimed = claim([sending.future for sending in taken])
    if len(claimed) == len(taken):
        return taken
    those = set(map(id, claimed))
    return [sending for sending in taken if id(sending.future) in those]
