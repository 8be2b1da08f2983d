"""The client's state machine: which submits are in flight, and which tasks the client awaits.

This file alone decides whether a task's end that the client receives reaches a future. It is pure: no lock, socket,
thread or clock. `PendingFutures` puts a lock around it; the simulation and a model call it directly.

Submits and results travel over two connections, in no common order: the client may receive the end of a task before it
has read the master's answer to the submit, which contains the task's key. Hence the one rule: **a submit is begun here
before its first byte is sent**. While any submit is in flight, the end of an unknown task is kept; when no submit is
in flight, the kept ends are dropped.

A number on the wire identifies a submit, so a submit that is sent again after a lost connection is the same submit:

    NEW --begin--> IN_FLIGHT --accept--> OVER
                   IN_FLIGHT --refuse--> OVER

A move that is not in the table raises IllegalClientMove and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from distq.core.states import LATER
from distq.protocol.results import TaskEnd


class Stage(Enum):
    """The stage of a submit."""

    __hash__ = object.__hash__  # that of `Enum` is Python code, and each submit looks for three moves in the table

    NEW = "new"
    IN_FLIGHT = "in flight"
    OVER = "over"


class Move(Enum):
    """The change of a submit from one stage to the next."""

    __hash__ = object.__hash__

    BEGIN = "begin"
    ACCEPT = "accept"
    REFUSE = "refuse"


MOVES: Final = {
    (Stage.NEW, Move.BEGIN): Stage.IN_FLIGHT,
    (Stage.IN_FLIGHT, Move.ACCEPT): Stage.OVER,
    (Stage.IN_FLIGHT, Move.REFUSE): Stage.OVER,
}
"""The legal moves: the next stage for a stage and a move."""


class IllegalClientMove(RuntimeError):
    """A submit was moved as the table does not allow; nothing was changed."""


class Settleable(Protocol):
    """The attributes of a future that the state machine uses."""

    task_key: int | None

    @property
    def has_ended(self) -> bool:
        """Whether the future has its outcome."""
        ...


F = TypeVar("F", bound=Settleable)


class ClientState(Generic[F]):
    """The submits of one client that are in flight, and its accepted tasks that have not ended."""

    def __init__(self) -> None:
        self.futures: dict[int, F] = {}
        """The future of each awaited task, by its key."""
        self.duplicates: dict[int, list[F]] = {}
        """Further futures of an awaited task, by its key."""
        self.early: dict[int, TaskEnd] = {}
        """The end of each task that the client does not know yet, by the task's key."""
        self.in_flight: dict[int, int] = {}
        """The number of tasks in each submit that was begun and not answered, by the submit's number."""
        self._newest = 0

    # -- submits -------------------------------------------------------------------------------

    def stage_of(self, number: int) -> Stage:
        """The stage of the submit with that number."""
        if number in self.in_flight:
            return Stage.IN_FLIGHT
        return Stage.OVER if number <= self._newest else Stage.NEW

    def _check(self, number: int, move: Move) -> None:
        stage = self.stage_of(number)
        if (stage, move) not in MOVES:
            raise IllegalClientMove(f"submit {number} is {stage.value}: it cannot {move.value}")

    def begin(self, number: int, count: int) -> None:
        """Note that the client is about to send a submit of `count` awaited tasks."""
        self._check(number, Move.BEGIN)
        self._newest = number
        self.in_flight[number] = count

    def take(
        self, number: int, futures: Sequence[F], first: int, conflicts: Mapping[int, int | None]
    ) -> list[tuple[F, TaskEnd]]:
        """Give a submit's tasks the keys from `first` on; returns the futures whose ends were received already.

        `conflicts` has, by index, each task whose unique key belongs to another task: the key of that task, or None if
        the future shall not await it. The submit stays in flight until `accept`, so that a caller that is interrupted
        between the two can do both again.
        """
        self._check(number, Move.ACCEPT)
        for task_key, future in enumerate(futures, first):
            if conflicts and task_key - first in conflicts:
                self._settle_conflict(future, task_key, conflicts[task_key - first])
            elif not future.has_ended:
                future.task_key = task_key
                self.futures[task_key] = future
        # Only now: an end that is received from here on finds its future.
        if not self.early:
            return []
        rows = [row for task_key in range(first, first + len(futures)) if (row := self.early.get(task_key)) is not None]
        return self.receive(rows)

    def _settle_conflict(self, future: F, task_key: int, other: int | None) -> None:
        """Handle a task under `key` whose unique key belongs to another task."""
        if other is None:
            future.task_key = task_key
        elif not future.has_ended:
            self.adopt(future, other)

    def accept(self, number: int) -> None:
        """End a submit whose tasks have their keys, after the early ends among them were settled."""
        self._check(number, Move.ACCEPT)
        self._over(number)

    def refuse(self, number: int) -> None:
        """End a submit that the master refused, or whose answer will not be read any more."""
        self._check(number, Move.REFUSE)
        self._over(number)

    def _over(self, number: int) -> None:
        self.in_flight.pop(number)
        if not self.in_flight:
            self.early.clear()

    # -- ends ----------------------------------------------------------------------------------

    def adopt(self, future: F, task_key: int) -> None:
        """Await a task that the master already has."""
        future.task_key = task_key
        known = self.futures.setdefault(task_key, future)
        if known is not future and future not in (others := self.duplicates.setdefault(task_key, [])):
            others.append(future)

    def receive(self, rows: Iterable[TaskEnd]) -> list[tuple[F, TaskEnd]]:
        """Take the ends of tasks; returns those with futures, which the caller settles and then passes to `end`."""
        ended: list[tuple[F, TaskEnd]] = []
        futures, duplicates = self.futures, self.duplicates
        for row in rows:
            if row[1] == LATER:
                continue
            future = futures.get(row[0])
            if future is not None:
                ended.append((future, row))
                if duplicates:
                    ended += [(other, row) for other in duplicates.get(row[0], ())]
            elif self.in_flight:
                self.early[row[0]] = row
        return ended

    def end(self, ended: Iterable[tuple[F, TaskEnd]]) -> None:
        """Stop awaiting these futures, which are settled."""
        futures, duplicates = self.futures, self.duplicates
        for future, row in ended:
            if not duplicates and futures.get(row[0]) is future:
                del futures[row[0]]
            else:
                self.abandon(future)

    def abandon(self, future: F) -> None:
        """Stop awaiting that future; the other futures of its task stay."""
        task_key = future.task_key
        if task_key is None:
            return
        others = self.duplicates.pop(task_key, [])
        if self.futures.get(task_key) is future:
            del self.futures[task_key]
        elif future in others:
            others.remove(future)
        for other in others:
            self.adopt(other, task_key)

    def lose(self, keys: Iterable[int] | None) -> list[F]:
        """Remove tasks (None: all awaited tasks) whose ends will not arrive; returns their futures."""
        lost = list(self.futures) if keys is None else list(keys)
        futures = [future for task_key in lost if (future := self.futures.pop(task_key, None)) is not None]
        return futures + [future for task_key in lost for future in self.duplicates.pop(task_key, ())]

    def keys_of_other_masters(self, epoch: int) -> list[int]:
        """The keys of awaited tasks that a master of another epoch has given."""
        return [task_key for task_key in self.futures if task_key >> 40 != epoch]
