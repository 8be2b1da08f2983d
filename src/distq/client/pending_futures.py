"""The futures of tasks that a master has accepted: the client's state machine, for many threads."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from distq.client.future import TaskFuture, settle_all
from distq.client.locks import is_owned
from distq.client.state_machine import ClientState, Stage
from distq.core.states import LATER
from distq.protocol.results import TaskEnd

if TYPE_CHECKING:
    from distq.client.outbox import Outbox, PendingSubmit

WATCHED_MAX: Final = 5_000
"""Maximum tasks a master is asked about in one call."""


class PendingFutures:
    """Accepted tasks without an outcome, and outcomes that came before the answer to their submit."""

    def __init__(self, outbox: Outbox, on_settled: Callable[[], None]) -> None:
        self._outbox = outbox
        self._on_settled = on_settled
        self._lock = threading.RLock()
        """Re-entrant: a signal handler or a finalizer may run in the thread that holds it."""
        self._pending: ClientState[TaskFuture[Any]] = ClientState()
        outbox.under_way = self._pending.under_way
        self._dropped: dict[int, weakref.ref[TaskFuture[Any]]] = {}
        """Awaited tasks of a client that the program has let go of: their futures count while the program has them."""

    def __bool__(self) -> bool:
        return bool(self._pending.futures or self._dropped)

    @property
    def has_early_ends(self) -> bool:
        """Whether there are outcomes of tasks whose acceptance was not heard yet."""
        return bool(self._pending.early)

    def is_locked_here(self) -> bool:
        """Whether this very thread is in the middle of a change here."""
        return is_owned(self._lock)

    def knows(self, key: int) -> bool:
        """Whether a task of this key is awaited."""
        return key in self._pending.futures

    # -- submits -------------------------------------------------------------------------------

    def begin(self, number: int, count: int) -> None:
        """A submit is about to be sent, perhaps again; no end is dropped until it is accepted or refused."""
        with self._lock:
            if not self.is_under_way(number):
                self._pending.begin(number, count)

    def is_under_way(self, number: int) -> bool:
        """Whether the submit was begun, and neither accepted nor refused."""
        return self._pending.stage_of(number) is Stage.UNDER_WAY

    def is_over(self, number: int) -> bool:
        """Whether the submit was accepted or refused."""
        return self._pending.stage_of(number) is Stage.OVER

    def refuse(self, number: int) -> None:
        """The master has not taken a submit, or its answer will not be read."""
        with self._lock:
            if self.is_under_way(number):
                self._pending.refuse(number)
        self._outbox.answered()

    def take(self, number: int, batch: Sequence[PendingSubmit], first: int, taken: Mapping[int, int | None]) -> None:
        """The master has taken a submit's tasks, under keys from `first` on; as `ClientState.take` has it."""
        with self._lock:
            ended = self._pending.take(number, [sending.future for sending in batch], first, taken)
        self._settle(ended)

    def accept(self, number: int) -> None:
        """All is done that follows from a submit's acceptance."""
        with self._lock:
            self._pending.accept(number)
        self._outbox.answered()

    # -- ends ----------------------------------------------------------------------------------

    def adopt(self, future: TaskFuture[Any], key: int) -> None:
        """Await a task that is at the master already."""
        with self._lock:
            self._pending.adopt(future, key)

    def abandon(self, future: TaskFuture[Any]) -> None:
        """Await that future no more; others of its task are awaited on."""
        with self._lock:
            self._pending.abandon(future)

    def receive(self, rows: Iterable[TaskEnd]) -> None:
        """Settle the futures of tasks that have ended. Rows may come twice: they do after an interruption (Ctrl-C)."""
        with self._lock:
            if self._dropped:
                rows = list(rows)
                self._restore(row[0] for row in rows)
            ended = self._pending.receive(rows)
        self._settle(ended)
        self._on_settled()

    def _settle(self, ended: list[tuple[TaskFuture[Any], TaskEnd]]) -> None:
        if ended:
            settle_all(ended)
            with self._lock:
                self._pending.end(ended)

    def ask_about(self, keys: Sequence[int], watch: Callable[[list[int]], Iterable[TaskEnd]]) -> None:
        """Hear how tasks have ended that are at the master already; `watch` asks it about some of them."""
        left = list(keys)
        while left:
            asked, left = left[:WATCHED_MAX], left[WATCHED_MAX:]
            rows = list(watch(asked))
            self.receive(rows)
            left += [key for key, state, *_ in rows if state == LATER]

    def keys_of_other_masters(self, epoch: int) -> list[int]:
        """The keys that another master than that of this epoch has given."""
        with self._lock:
            return self._pending.keys_of_other_masters(epoch) + [key for key in self._dropped if key >> 40 != epoch]

    def keys_from(self, key: int, count: int) -> list[int]:
        """That key, and the keys of awaited tasks above it; at most `count`."""
        with self._lock:
            above = (one for one in self._pending.futures if one > key)
            return [key, *itertools.islice(above, count - 1)]

    def oldest(self, count: int) -> list[int]:
        """Keys of at most `count` awaited tasks, those first that are awaited longest."""
        with self._lock:
            return [*itertools.islice(self._pending.futures, count)]

    def futures(self) -> list[TaskFuture[Any]]:
        """The futures of all awaited tasks, one for each."""
        with self._lock:
            return list(self._pending.futures.values())

    def fail(self, keys: Iterable[int] | None, error_of: Callable[[TaskFuture[Any]], Exception]) -> None:
        """The ends of these tasks (None: of all of them) will not be heard: their futures fail."""
        with self._lock:
            if self._dropped:
                keys = None if keys is None else list(keys)
                self._restore(list(self._dropped) if keys is None else keys)
            futures = self._pending.lose(keys)
        for future in futures:
            future.fail(error_of(future))
        self._on_settled()

    # -- a client that the program has let go of -----------------------------------------------

    def keep_referenced(self, gone: Callable[[], None]) -> None:
        """Keep those futures alone that the program has, or that have callbacks; `gone` is called as each goes."""

        def dropped(key: int) -> Callable[[object], None]:
            def forget(_: object) -> None:
                self._dropped.pop(key, None)
                gone()

            return forget

        with self._lock:
            pending = self._pending
            for key, future in list(pending.futures.items()):
                if key not in pending.duplicates and not future.has_callbacks:
                    del pending.futures[key]
                    self._dropped[key] = weakref.ref(future, dropped(key))

    def _restore(self, keys: Iterable[int]) -> None:
        for key in keys:
            reference = self._dropped.pop(key, None)
            future = None if reference is None else reference()
            if future is not None:
                self._pending.adopt(future, key)
