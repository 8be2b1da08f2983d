"""The futures of tasks that a master has accepted, by key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from distq.client.future import TaskFuture, settle_all
from distq.core.task import LATER

if TYPE_CHECKING:
    from distq.client.outbox import Outbox, Sending

WATCHED_MAX: Final = 5_000
"""So many tasks a master is asked about in one call."""

Row = tuple[int, int, bytes | None, list[str] | None]
"""Key, state, outcome, causes: how the master tells of a task's end."""
Ended = tuple[TaskFuture[Any], int, bytes | None, list[str] | None]


class Awaited:
    """Accepted tasks without an outcome, and outcomes that came before the answer to their submit."""

    def __init__(self, outbox: Outbox, settled: Callable[[], None]) -> None:
        self._outbox = outbox
        self._settled = settled
        self._lock = threading.Lock()
        self._futures: dict[int, TaskFuture[Any]] = {}
        self._twins: dict[int, list[TaskFuture[Any]]] = {}
        """More futures of the same tasks."""
        self._early: dict[int, tuple[int, bytes | None, list[str] | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._futures)

    @property
    def stashed(self) -> bool:
        """Whether there are outcomes of tasks whose acceptance was not heard yet."""
        return bool(self._early)

    def knows(self, key: int) -> bool:
        """Whether a task of this key is awaited."""
        return key in self._futures

    def accept(self, batch: Sequence[Sending], first: int, taken: Mapping[int, int | None]) -> None:
        """The master has taken these tasks, under keys from `first` on.

        Of those in `taken`, by index, another task has the unique key: its key, or None where that is no answer.
        """
        ended: list[Ended] = []
        with self._lock:
            for key, sending in enumerate(batch, first):
                future = sending.future
                future.key = key
                self._futures[key] = future
            for index, other in taken.items():
                future = self._futures.pop(first + index)
                if other is not None:
                    self._adopt(future, other)
            if self._early:
                here = [key for key in range(first, first + len(batch)) if key in self._early]
                ended += [(self._futures.pop(key), *self._early.pop(key)) for key in here]
                self._early.clear()  # no other submit is under way
        self._outbox.sent(len(batch))
        if ended:
            settle_all(ended)

    def adopt(self, future: TaskFuture[Any], key: int) -> None:
        """Await a task that is at the master already."""
        with self._lock:
            self._adopt(future, key)

    def _adopt(self, future: TaskFuture[Any], key: int) -> None:
        future.key = key
        if self._futures.setdefault(key, future) is not future:
            self._twins.setdefault(key, []).append(future)

    def abandon(self, future: TaskFuture[Any]) -> None:
        """Await that future no more; others of its task are awaited on."""
        key = future.key
        assert key is not None
        with self._lock:
            twins = self._twins.pop(key, [])
            if self._futures.get(key) is future:
                del self._futures[key]
            else:
                twins.remove(future)
            for twin in twins:
                self._adopt(twin, key)

    def hear(self, rows: Iterable[Row]) -> None:
        """Settle the futures of tasks that have ended. Rows may come twice."""
        known: list[Ended] = []
        futures = self._futures
        try:
            with self._lock:
                for key, state, body, causes in rows:
                    future = futures.pop(key, None)
                    if future is not None:
                        known.append((future, state, body, causes))
                        if self._twins:
                            known += [(twin, state, body, causes) for twin in self._twins.pop(key, ())]
                    elif self._outbox:
                        self._early[key] = (state, body, causes)
            settle_all(known)
        except BaseException:  # interrupted (Ctrl-C) in a caller's thread: the rows will come again
            with self._lock:
                for future, *_ in known:
                    if future.key and not future.has_ended:
                        self._adopt(future, future.key)
            raise
        self._settled()

    def ask_about(self, keys: Sequence[int], watch: Callable[[list[int]], Iterable[Row]]) -> None:
        """Hear how tasks have ended that are at the master already; `watch` asks it about so many."""
        left = list(keys)
        while left:
            asked, left = left[:WATCHED_MAX], left[WATCHED_MAX:]
            rows = list(watch(asked))
            self.hear(row for row in rows if row[1] != LATER)
            left += [key for key, state, *_ in rows if state == LATER]

    def keys_of_others(self, epoch: int) -> list[int]:
        """The keys that another master than that of this epoch has given."""
        with self._lock:
            return [key for key in self._futures if key >> 40 != epoch]

    def fail(self, keys: Iterable[int] | None, error_of: Callable[[TaskFuture[Any]], Exception]) -> None:
        """Nobody will tell how these tasks end (None: all of them): their futures fail."""
        with self._lock:
            lost = list(self._futures) if keys is None else keys
            futures = [future for key in lost if (future := self._futures.pop(key, None)) is not None]
            futures += [future for key in lost for future in self._twins.pop(key, ())]
        for future in futures:
            future.fail(error_of(future))
        self._settled()
