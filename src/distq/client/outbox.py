"""The outbox: tasks that a client has not sent yet; callers add them, and the sender takes them in batches."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from distq.client.future import TaskFuture, claim
from distq.client.future_state import FutureState
from distq.client.locks import Wakeup
from distq.core.constraints import Headers
from distq.core.errors import PayloadTooLarge
from distq.protocol.submit import WireTuple, with_headers, write_entry
from distq.tasks.options import BLOCK, RAISE

BATCH_TASKS_MAX: Final = 1_000
"""Maximum tasks in one submit."""
BATCH_BYTES_MAX: Final = 8 << 20
"""Bytes of bodies at which a batch takes no further task."""
UNACCEPTED_MAX: Final = 10_000
"""Maximum tasks that wait for the master's acceptance before `submit` blocks; it bounds the client's memory."""

POLL_S: Final = 0.5
"""Seconds between two checks of a flush, because a caller that Ctrl-C interrupts may end a submit without notice."""

F = TypeVar("F", bound=FutureState[Any])

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


class PendingSubmit(NamedTuple, Generic[F]):
    """One task on its way to the master."""

    options: SubmitOptions
    body: bytes
    future: F

    def entry(self, index: int, count: int) -> WireTuple:
        """An entry of `count` tasks like this one in its wire form; `index` is the index of their envelope."""
        _, when, constraints, _ = self.options
        return write_entry(index, count, when, constraints)


class UnsentTasks(Generic[F]):
    """Holds tasks in the order of their submits, at most `UNACCEPTED_MAX` with those that were sent."""

    def __init__(self) -> None:
        self.waiting: deque[PendingSubmit[F]] = deque()
        """The tasks that wait for the sender; other objects only read it."""
        self._unanswered_count = 0
        """The number of tasks that the sender sends and the master has not answered."""
        self.in_flight: Mapping[int, int] = {}
        """The submits that were begun and not answered, also direct ones: this is the dict of the state machine."""
        self.closed = False
        """Whether `close` was called: tasks that are put now are not sent any more."""
        self.waits_for_room = False
        """In a task: whether a submit waits for room in a full queue, and so do those behind it."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self._unanswered_count or self.in_flight)

    @property
    def count(self) -> int:
        """The number of tasks that the master has neither accepted nor refused."""
        return len(self.waiting) + (self._unanswered_count or sum(list(self.in_flight.values())))

    @property
    def full(self) -> bool:
        """Whether the next task must wait."""
        return len(self.waiting) + (self._unanswered_count or len(self.in_flight)) >= UNACCEPTED_MAX

    def put(self, submit: PendingSubmit[F]) -> None:
        """Add a task."""
        self.waiting.append(submit)
        self.wake()

    def wake(self) -> None:
        """Have the sender look at its tasks."""
        raise NotImplementedError

    def answered(self) -> None:
        """Wake those calls that wait for room or for the answers to all submits."""
        raise NotImplementedError

    def close(self) -> None:
        """Have the sender end once it has sent all tasks."""
        self.closed = True
        self.wake()

    def take_batch(self) -> list[PendingSubmit[F]]:
        """Take the tasks of the next submit, at most BATCH_TASKS_MAX; cancelled tasks are left out."""
        batch: list[PendingSubmit[F]] = []
        while not batch and self.waiting:
            sendings: list[PendingSubmit[F]] = []
            size = 0
            while self.waiting and len(sendings) < BATCH_TASKS_MAX and size < BATCH_BYTES_MAX:
                self._unanswered_count += 1  # first, so that the task is always counted
                try:
                    sending = self.waiting.popleft()
                except IndexError:  # taken out by `take_all` just now
                    self._unanswered_count -= 1
                    break
                sendings.append(sending)
                size += len(sending.body)
            batch = _claimed(sendings)
            if len(batch) < len(sendings):
                self.sent(len(sendings) - len(batch))
        return batch

    def sent(self, count: int) -> None:
        """Note that `count` of the tasks that the sender thread sends were answered."""
        self._unanswered_count -= count
        self.answered()

    def take_all(self) -> list[PendingSubmit[F]]:
        """Take all tasks that were not sent; cancelled tasks are left out."""
        sendings = []
        while self.waiting:
            with suppress(IndexError):  # the sender takes from the same end
                sendings.append(self.waiting.popleft())
        self.answered()
        return _claimed(sendings)


class Outbox(UnsentTasks[TaskFuture[Any]]):
    """The same for threads: callers add tasks and wait, and the sender thread takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._wakeup = Wakeup()
        self._changed = threading.Condition()
        self._waiter_count = 0
        """The number of threads that wait for `_changed`, or are about to."""

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

    def answered(self) -> None:
        """Wake the threads that wait for room or for an empty outbox, after submits were answered."""
        if self._waiter_count:  # most answers have none, and would pay for the condition
            with self._changed:
                self._changed.notify_all()

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until there is room for another task; False if `timeout_s` is over first."""
        return self._wait_until(lambda: not self.full, max(timeout_s, 0.0))

    def wait_until_empty(self, timeout_s: float | None) -> bool:
        """Wait until all submits were answered; False if `timeout_s` (None: never) is over first."""
        deadline = None if timeout_s is None else _now() + timeout_s
        while self:
            left_s = POLL_S if deadline is None else min(deadline - _now(), POLL_S)
            if left_s <= 0:
                return False
            self._wait_until(lambda: not self, left_s)
        return True

    def _wait_until(self, is_so: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until that is so; False if `timeout_s` is over first."""
        # First the thread is counted, and then it looks: an answer in between finds either it or what it looks for.
        with self._changed:
            self._waiter_count += 1
        try:
            with self._changed:
                return self._changed.wait_for(is_so, timeout_s)
        finally:
            with self._changed:
                self._waiter_count -= 1


def _claimed(sendings: list[PendingSubmit[F]]) -> list[PendingSubmit[F]]:
    """Claim the tasks; returns those that were not cancelled while they waited."""
    claimed = claim([sending.future for sending in sendings])
    if len(claimed) == len(sendings):
        return sendings
    claimed_ids = set(map(id, claimed))
    return [sending for sending in sendings if id(sending.future) in claimed_ids]


def check_size(body: bytes, bytes_max: int) -> None:
    """Raise PayloadTooLarge for a payload of more than `bytes_max` bytes."""
    if len(body) > bytes_max:
        raise PayloadTooLarge(f"the arguments have {len(body):,} bytes, and {bytes_max:,} are allowed.")


def packed(batch: Sequence[PendingSubmit[F]]) -> tuple[list[WireTuple], list[WireTuple], list[bytes]]:
    """A batch as `submit` sends it: each envelope once, entries of (index of the envelope, count[, when]), bodies."""
    envelopes: dict[WireTuple, int] = {}
    entries: list[WireTuple] = []
    for options, group in itertools.groupby(batch, key=attrgetter("options")):
        alike = list(group)
        entries.append(alike[0].entry(envelopes.setdefault(options.envelope, len(envelopes)), len(alike)))
    return list(envelopes), entries, [sending.body for sending in batch]
