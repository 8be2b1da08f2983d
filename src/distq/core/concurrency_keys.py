"""Concurrency keys: of one key so many tasks are under way, and the others wait where they hold up nobody.

A task that is under way stands in its line like any other, or is leased. Those behind it are held, apart from all
lines, and each comes in, at the end of its line, when one of its key leaves: so keys are served in turn, and the
backlog of one costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from distq.core.ready_list import PriorityList
from distq.core.states import HELD, LEASED, READY
from distq.core.task import Task

IN_FLIGHT: Final = (READY, LEASED)


class _Key:
    """One concurrency key."""

    __slots__ = ("held", "in_flight", "limit")

    def __init__(self) -> None:
        self.held = PriorityList("", HELD)
        self.limit = 1
        self.in_flight = 0


class ConcurrencyKeys:
    """The concurrency keys of one queue that have tasks."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def is_in_flight(self, task: Task) -> None:
        """A task of a restarted master is leased: its key knows of it before others come in."""
        key = self._key(task)
        key.limit = task.constraints.concurrency
        key.in_flight += 1

    def enter(self, task: Task) -> Iterator[Task]:
        """A task is held; gives those that may come in now, one by one, each to be admitted at once."""
        key = self._key(task)
        key.limit = task.constraints.concurrency  # who has submitted last says how many
        key.held.push(task)
        return self._admitted(task.constraints.concurrency_key, key)

    def release(self, task: Task) -> Iterator[Task]:
        """A task that was under way is not any more; gives those that may come in, as `enter`."""
        key = self._keys[task.constraints.concurrency_key]
        key.in_flight -= 1
        return self._admitted(task.constraints.concurrency_key, key)

    def discard_one(self, task: Task) -> None:
        """A held task has ended."""
        self._keys[task.constraints.concurrency_key].held.discard_one()

    def _key(self, task: Task) -> _Key:
        return self._keys.setdefault(task.constraints.concurrency_key, _Key())

    def _admitted(self, name: str, key: _Key) -> Iterator[Task]:
        while key.in_flight < key.limit and (task := key.held.head()) is not None:
            key.held.pop()
            key.in_flight += 1
            yield task
        if not key.in_flight and key.held.head() is None:
            del self._keys[name]
