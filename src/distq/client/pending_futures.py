"""The futures of tasks that a master has accepted: the client's state machine, for many threads."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from distq.client.future_state import FutureState
from distq.client.locks import owner_check
from distq.client.state_machine import ClientState, Stage
from distq.client.steps import MasterCall, Steps
from distq.core.states import LATER
from distq.protocol.methods import WATCH
from distq.protocol.results import TaskEnd

if TYPE_CHECKING:
    from distq.client.outbox import PendingSubmit, UnsentTasks

F = TypeVar("F", bound=FutureState[Any])

WATCHED_MAX: Final = 5_000
"""Maximum tasks a master is asked about in one call."""


class PendingFutures(Generic[F]):
    """Holds futures of accepted tasks without an outcome, and outcomes received before the answer to their submit."""

    def __init__(
        self,
        outbox: UnsentTasks[F],
        on_settled: Callable[[], None],
        settle_all: Callable[[list[tuple[F, TaskEnd]]], None],
    ) -> None:
        self._settle_all = settle_all
        self._outbox = outbox
        self._on_settled = on_settled
        self._lock = threading.RLock()
        """Re-entrant: a signal handler or a finalizer may run in the thread that holds it."""
        self.is_locked_here = owner_check(self._lock)
        """Whether the current thread is in the middle of a change of this object."""
        self._pending: ClientState[F] = ClientState()
        outbox.in_flight = self._pending.in_flight
        self._dropped: dict[int, weakref.ref[F]] = {}
        """Weak references to futures of a released client, by key: each is awaited while the program refers to it."""

    def __bool__(self) -> bool:
        return bool(self._pending.futures or self._dropped)

    @property
    def count(self) -> int:
        """The number of tasks that the client awaits."""
        return len(self._pending.futures) + len(self._dropped)

    @property
    def has_early_ends(self) -> bool:
        """Whether the client has outcomes of tasks whose acceptance it has not received yet."""
        return bool(self._pending.early)

    def knows(self, task_key: int) -> bool:
        """Whether the client awaits the task with this key."""
        return task_key in self._pending.futures

    def knows_all(self, rows: Iterable[TaskEnd]) -> bool:
        """Whether the client awaits all tasks that have ended."""
        futures = self._pending.futures
        return all(row[0] in futures for row in rows)

    # -- submits -------------------------------------------------------------------------------

    def begin(self, number: int, count: int) -> None:
        """Note that the client is about to send a submit, perhaps again; no end is dropped until it has its answer."""
        with self._lock:
            if not self.is_in_flight(number):
                self._pending.begin(number, count)

    def is_in_flight(self, number: int) -> bool:
        """Whether the submit was begun, and neither accepted nor refused."""
        return self._pending.stage_of(number) is Stage.IN_FLIGHT

    def is_over(self, number: int) -> bool:
        """Whether the submit was accepted or refused."""
        return self._pending.stage_of(number) is Stage.OVER

    def refuse(self, number: int) -> None:
        """End a submit that the master refused, or whose answer will not be read; one that is over is left alone."""
        with self._lock:
            if self.is_in_flight(number):
                self._pending.refuse(number)
        self._outbox.answered()

    def take(
        self, number: int, batch: Sequence[PendingSubmit[F]], first: int, conflicts: Mapping[int, int | None]
    ) -> None:
        """Give a submit's tasks the keys from `first` on, as `ClientState.take` does, and settle the early ends."""
        with self._lock:
            ended = self._pending.take(number, [sending.future for sending in batch], first, conflicts)
        self._settle(ended)

    def accept(self, number: int) -> None:
        """End a submit that the master accepted, after the client has done all that follows from it."""
        with self._lock:
            self._pending.accept(number)
        self._outbox.answered()

    # -- ends ----------------------------------------------------------------------------------

    def adopt(self, future: F, task_key: int) -> None:
        """Await a task that the master already has."""
        with self._lock:
            self._pending.adopt(future, task_key)

    def abandon(self, future: F) -> None:
        """Stop awaiting that future; the other futures of its task stay."""
        with self._lock:
            self._pending.abandon(future)

    def receive(self, rows: Iterable[TaskEnd]) -> None:
        """Settle the futures of tasks that have ended. A row may come twice: it does after an interruption (Ctrl-C)."""
        with self._lock:
            if self._dropped:
                rows = list(rows)
                self._restore(row[0] for row in rows)
            ended = self._pending.receive(rows)
        self._settle(ended)
        self._on_settled()

    def _settle(self, ended: list[tuple[F, TaskEnd]]) -> None:
        if ended:
            self._settle_all(ended)
            with self._lock:
                self._pending.end(ended)

    def ask_about(self, keys: Sequence[int]) -> Steps[None]:
        """Ask the master for the ends of tasks that it already has, some of the keys in each call."""
        left = list(keys)
        while left:
            asked, left = left[:WATCHED_MAX], left[WATCHED_MAX:]
            rows: list[TaskEnd] = list((yield MasterCall(WATCH, (asked,))))
            self.receive(rows)
            left += [task_key for task_key, state, *_ in rows if state == LATER]

    def keys_of_other_masters(self, epoch: int) -> list[int]:
        """The keys of awaited tasks that a master of another epoch has given."""
        with self._lock:
            return self._pending.keys_of_other_masters(epoch) + [
                task_key for task_key in self._dropped if task_key >> 40 != epoch
            ]

    def all_keys(self) -> list[int]:
        """The keys of all awaited tasks."""
        with self._lock:
            return [*self._pending.futures, *self._dropped]

    def keys_from(self, task_key: int, count: int) -> list[int]:
        """That key, and the keys of awaited tasks above it, at most `count` in all."""
        with self._lock:
            above = (one for one in self._pending.futures if one > task_key)
            return [task_key, *itertools.islice(above, count - 1)]

    def oldest(self, count: int) -> list[int]:
        """The keys of at most `count` awaited tasks, in the order in which the client began to await them."""
        with self._lock:
            return [*itertools.islice(self._pending.futures, count)]

    def futures(self) -> list[F]:
        """The futures of all awaited tasks, one for each task."""
        with self._lock:
            return list(self._pending.futures.values())

    def fail(self, keys: Iterable[int] | None, error_of: Callable[[F], Exception]) -> None:
        """Fail the futures of tasks (None: all awaited tasks) whose ends will not arrive."""
        with self._lock:
            if self._dropped:
                keys = None if keys is None else list(keys)
                self._restore(list(self._dropped) if keys is None else keys)
            futures = self._pending.lose(keys)
        for future in futures:
            future.fail(error_of(future))
        self._on_settled()

    # -- a released client ---------------------------------------------------------------------

    def keep_referenced(self, gone: Callable[[], None]) -> None:
        """Await only futures that the program refers to, or that have callbacks.

        `gone` is called each time the program drops its last reference to one of them.
        """

        def dropped(task_key: int) -> Callable[[object], None]:
            def forget(_: object) -> None:
                self._dropped.pop(task_key, None)
                gone()

            return forget

        with self._lock:
            pending = self._pending
            for task_key, future in list(pending.futures.items()):
                if task_key not in pending.duplicates and not future.has_callbacks:
                    del pending.futures[task_key]
                    self._dropped[task_key] = weakref.ref(future, dropped(task_key))

    def _restore(self, keys: Iterable[int]) -> None:
        for task_key in keys:
            reference = self._dropped.pop(task_key, None)
            future = None if reference is None else reference()
            if future is not None:
                self._pending.adopt(future, task_key)
