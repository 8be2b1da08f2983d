"""Concurrency keys: each limits the tasks of one key that are in flight; the other tasks of the key are held.

A task in flight is in a ready list or is leased. A held task is in no ready list; it is admitted, at the end of its
ready list, when a task of its key is no longer in flight. So the held tasks of one key delay no task of another key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic

from distq.core.ready_list import PriorityList, TaskT
from distq.core.states import HELD, LEASED, READY

IN_FLIGHT: Final = (READY, LEASED)


class _Key(Generic[TaskT]):
    """The tasks of one concurrency key."""

    __slots__ = ("held", "in_flight", "limit")

    def __init__(self) -> None:
        self.held: PriorityList[TaskT] = PriorityList("", HELD)
        self.limit = 1
        self.in_flight = 0


class ConcurrencyKeys(Generic[TaskT]):
    """The concurrency keys of one queue that have tasks."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[str, _Key[TaskT]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def count_in_flight(self, task: TaskT) -> None:
        """Count a leased task of a restarted master, before tasks of its key are admitted."""
        key = self._key(task)
        key.limit = task.constraints.concurrency
        key.in_flight += 1

    def enter(self, task: TaskT) -> Iterator[TaskT]:
        """Hold a task; yields the tasks to admit now, each of which the caller admits before it takes the next."""
        key = self._key(task)
        key.limit = task.constraints.concurrency  # the newest submit sets the limit
        key.held.push(task)
        return self._admitted(task.constraints.concurrency_key, key)

    def release(self, task: TaskT) -> Iterator[TaskT]:
        """Count a task that is no longer in flight; yields the tasks to admit, as `enter`."""
        key = self._keys[task.constraints.concurrency_key]
        key.in_flight -= 1
        return self._admitted(task.constraints.concurrency_key, key)

    def discard_one(self, task: TaskT) -> None:
        """Count a held task that has ended."""
        self._keys[task.constraints.concurrency_key].held.discard_one()

    def _key(self, task: TaskT) -> _Key[TaskT]:
        return self._keys.setdefault(task.constraints.concurrency_key, _Key())

    def _admitted(self, name: str, key: _Key[TaskT]) -> Iterator[TaskT]:
        while key.in_flight < key.limit and (task := key.held.first()) is not None:
            key.held.pop()
            key.in_flight += 1
            yield task
        if not key.in_flight and key.held.first() is None:
            del self._keys[name]
