"""The outbox: tasks that a client has not sent yet; callers add them, and the sender thread takes them in batches."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, NamedTuple

from distq.client.future import TaskFuture, claim
from distq.client.locks import Wakeup
from distq.core.constraints import Headers
from distq.protocol.submit import WireTuple, with_headers, write_run
from distq.tasks.options import BLOCK, RAISE

BATCH_TASKS_MAX: Final = 1_000
"""Maximum tasks in one submit."""
BATCH_BYTES_MAX: Final = 8 << 20
"""Bytes of bodies at which a batch takes no further task."""
UNACCEPTED_MAX: Final = 10_000
"""Maximum tasks that wait for the master's acceptance before `submit` blocks; it bounds the client's memory."""

LOOK_S: Final = 0.5
"""Seconds between two checks of a flush, because a caller that Ctrl-C interrupts may end a submit without notice."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class SubmitOptions(NamedTuple):
    """How a task is submitted; tasks of a batch with equal options travel as one run."""

    envelope: WireTuple
    when: WireTuple | None = None
    constraints: WireTuple | None = None
    full: float | str | None = None
    """The reaction to a full queue, as in `Options.full`."""

    def carrying(self, headers: Headers) -> SubmitOptions:
        """The same options with further headers."""
        return self._replace(constraints=with_headers(self.constraints, headers)) if headers else self

    def patience_s(self, default_s: float) -> float:
        """The seconds that a submit with these options waits for room in a full queue."""
        full = self.full
        if full is None:
            return default_s
        return 0.0 if full == RAISE else math.inf if full == BLOCK else float(full)


class PendingSubmit(NamedTuple):
    """One task on its way to the master."""

    options: SubmitOptions
    body: bytes
    future: TaskFuture[Any]

    def run(self, index: int, count: int) -> WireTuple:
        """A run of `count` tasks like this one in its wire form; `index` is the index of their envelope."""
        _, when, constraints, _ = self.options
        return write_run(index, count, when, constraints)


class Outbox:
    """Holds tasks in the order of their submits, at most `UNACCEPTED_MAX` with those that were sent."""

    def __init__(self) -> None:
        self.waiting: deque[PendingSubmit] = deque()
        """The tasks that the sender thread has not taken; other objects only read it."""
        self._taken_count = 0
        """The number of tasks that the sender thread has taken and the master has not answered."""
        self.in_flight: Mapping[int, int] = {}
        """The submits that were begun and not answered, also direct ones: this is the dict of the state machine."""
        self._wakeup = Wakeup()
        self._changed = threading.Condition()
        self.closed = False
        """Whether `close` was called: tasks that are put now are not sent any more."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self._taken_count or self.in_flight)

    @property
    def full(self) -> bool:
        """Whether the next task must wait."""
        return len(self.waiting) + (self._taken_count or len(self.in_flight)) >= UNACCEPTED_MAX

    def put(self, submit: PendingSubmit) -> None:
        """Add a task."""
        self.waiting.append(submit)
        self._wakeup.set()

    def wake(self) -> None:
        """Have `wait_for_tasks` return, also without a task."""
        self._wakeup.set()

    def wait_for_tasks(self, timeout_s: float | None) -> bool:
        """Wait until there is a task, `timeout_s` is over (None: never), or `wake` is called.

        Returns False if the outbox is closed and empty.
        """
        if not self.waiting and not self.closed:
            self._wakeup.wait(timeout_s)
        return bool(self.waiting) or not self.closed

    def take_batch(self) -> list[PendingSubmit]:
        """Take the tasks of the next submit, at most BATCH_TASKS_MAX; cancelled tasks are left out."""
        batch: list[PendingSubmit] = []
        while not batch and self.waiting:
            taken: list[PendingSubmit] = []
            size = 0
            while self.waiting and len(taken) < BATCH_TASKS_MAX and size < BATCH_BYTES_MAX:
                self._taken_count += 1  # first, so that the task is always counted
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
        """Note that `count` of the taken tasks were answered."""
        self._taken_count -= count
        self.answered()

    def answered(self) -> None:
        """Wake the threads that wait for room or for an empty outbox, after submits were answered."""
        with self._changed:
            self._changed.notify_all()

    def take_all(self) -> list[PendingSubmit]:
        """Take all tasks that were not sent; cancelled tasks are left out."""
        taken = []
        while self.waiting:
            with suppress(IndexError):  # the sender thread takes from the same end
                taken.append(self.waiting.popleft())
        with self._changed:
            self._changed.notify_all()
        return _claimed(taken)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until there is room for another task; False if `timeout_s` is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.full, max(timeout_s, 0.0))

    def wait_until_empty(self, timeout_s: float | None) -> bool:
        """Wait until all submits were answered; False if `timeout_s` (None: never) is over first."""
        deadline = None if timeout_s is None else _now() + timeout_s
        while self:
            left_s = LOOK_S if deadline is None else min(deadline - _now(), LOOK_S)
            if left_s <= 0:
                return False
            with self._changed:
                self._changed.wait_for(lambda: not self, left_s)
        return True

    def close(self) -> None:
        """Have `wait_for_tasks` return False once the outbox is empty."""
        self.closed = True
        self._wakeup.set()


def _claimed(taken: list[PendingSubmit]) -> list[PendingSubmit]:
    """Claim the taken tasks; returns those that were not cancelled while they waited."""
    claimed = claim([sending.future for sending in taken])
    if len(claimed) == len(taken):
        return taken
    those = set(map(id, claimed))
    return [sending for sending in taken if id(sending.future) in those]


def packed(batch: Sequence[PendingSubmit]) -> tuple[list[WireTuple], list[WireTuple], list[bytes]]:
    """A batch as `submit` sends it: each envelope once, runs of (index of the envelope, count[, when]), bodies."""
    envelopes: dict[WireTuple, int] = {}
    runs: list[WireTuple] = []
    for options, group in itertools.groupby(batch, key=attrgetter("options")):
        alike = list(group)
        runs.append(alike[0].run(envelopes.setdefault(options.envelope, len(envelopes)), len(alike)))
    return list(envelopes), runs, [sending.body for sending in batch]
