"""Which submits are under way and which tasks are awaited: the client's state machine.

Everything that decides whether an end that the client hears reaches a future lives in this file. It is pure: no lock,
socket, thread or clock; `Awaited` puts a lock around it, and the simulation and a model drive it as it is.

Submits and results travel over two connections, between which there is no order: the end of a task may be heard before
the master's answer to its submit has been read, and with it the task's key. Hence the one rule: **a submit is begun
here before its first byte is sent**. While any submit is under way, an end of an unknown task is kept; it is dropped
only when none is.

A submit goes by its number on the wire, so a submit that is sent again after a broken connection is the same one:

    NEW --begin--> UNDER_WAY --accept--> OVER
                   UNDER_WAY --refuse--> OVER

A move that is not in the table raises IllegalMove and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from distq.core.states import LATER
from distq.protocol.results import TaskEnd


class Stage(Enum):
    """Where a submit stands."""

    NEW = "new"
    UNDER_WAY = "under way"
    OVER = "over"


class Move(Enum):
    """What happens to a submit."""

    BEGIN = "begin"
    ACCEPT = "accept"
    REFUSE = "refuse"


MOVES: Final = {
    (Stage.NEW, Move.BEGIN): Stage.UNDER_WAY,
    (Stage.UNDER_WAY, Move.ACCEPT): Stage.OVER,
    (Stage.UNDER_WAY, Move.REFUSE): Stage.OVER,
}
"""The only moves that there are."""


class IllegalClientMove(RuntimeError):
    """A submit was moved as the table does not allow; nothing was changed."""


class Settleable(Protocol):
    """What the state machine knows of a future."""

    task_key: int | None

    @property
    def has_ended(self) -> bool:
        """Whether it has its outcome."""
        ...


F = TypeVar("F", bound=Settleable)


class ClientState(Generic[F]):
    """One client's submits that are under way, and its accepted tasks that have not ended."""

    def __init__(self) -> None:
        self.futures: dict[int, F] = {}
        """The future of each awaited task, by its key."""
        self.duplicates: dict[int, list[F]] = {}
        """Further futures of the same tasks."""
        self.early: dict[int, TaskEnd] = {}
        """Ends of tasks that are not known yet."""
        self.under_way: dict[int, int] = {}
        """How many tasks each submit has that was begun and not answered."""
        self._newest = 0

    # -- submits -------------------------------------------------------------------------------

    def stage_of(self, number: int) -> Stage:
        """Where the submit of that number stands."""
        if number in self.under_way:
            return Stage.UNDER_WAY
        return Stage.OVER if number <= self._newest else Stage.NEW

    def _check(self, number: int, move: Move) -> None:
        stage = self.stage_of(number)
        if (stage, move) not in MOVES:
            raise IllegalClientMove(f"submit {number} is {stage.value}: it cannot {move.value}")

    def begin(self, number: int, count: int) -> None:
        """A submit of `count` awaited tasks is about to be sent."""
        self._check(number, Move.BEGIN)
        self._newest = number
        self.under_way[number] = count

    def take(
        self, number: int, futures: Sequence[F], first: int, taken: Mapping[int, int | None]
    ) -> list[tuple[F, TaskEnd]]:
        """The master has taken a submit's tasks under keys from `first` on; returns those whose end is known already.

        Of those in `taken`, by index, another task has the unique key: its key, or None where that is no answer. The
        submit stays under way until `accept`, so that a caller that is interrupted between the two can do both again.
        """
        self._check(number, Move.ACCEPT)
        for key, future in enumerate(futures, first):
            if taken and key - first in taken:
                self._taken_over(future, key, taken[key - first])
            elif not future.has_ended:
                future.task_key = key
                self.futures[key] = future
        # Only now: an end that is heard from here on finds its future.
        if not self.early:
            return []
        rows = [row for key in range(first, first + len(futures)) if (row := self.early.get(key)) is not None]
        return self.receive(rows)

    def _taken_over(self, future: F, key: int, other: int | None) -> None:
        """Another task has the unique key of the one under `key`."""
        if other is None:
            future.task_key = key
        elif not future.has_ended:
            self.adopt(future, other)

    def accept(self, number: int) -> None:
        """A submit's tasks are taken, and those settled whose end was known already."""
        self._check(number, Move.ACCEPT)
        self._over(number)

    def refuse(self, number: int) -> None:
        """The master has not taken a submit, or its answer will not be read any more."""
        self._check(number, Move.REFUSE)
        self._over(number)

    def _over(self, number: int) -> None:
        self.under_way.pop(number)
        if not self.under_way:
            self.early.clear()

    # -- ends ----------------------------------------------------------------------------------

    def adopt(self, future: F, key: int) -> None:
        """Await a task that is at the master already."""
        future.task_key = key
        known = self.futures.setdefault(key, future)
        if known is not future and future not in (others := self.duplicates.setdefault(key, [])):
            others.append(future)

    def receive(self, rows: Iterable[TaskEnd]) -> list[tuple[F, TaskEnd]]:
        """The ends of tasks were read; returns those whose futures are to be settled, and then given to `end`."""
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
            elif self.under_way:
                self.early[row[0]] = row
        return ended

    def end(self, ended: Iterable[tuple[F, TaskEnd]]) -> None:
        """These futures are settled: they are awaited no more."""
        futures, duplicates = self.futures, self.duplicates
        for future, row in ended:
            if not duplicates and futures.get(row[0]) is future:
                del futures[row[0]]
            else:
                self.abandon(future)

    def abandon(self, future: F) -> None:
        """Await that future no more; others of its task are awaited on."""
        key = future.task_key
        if key is None:
            return
        others = self.duplicates.pop(key, [])
        if self.futures.get(key) is future:
            del self.futures[key]
        elif future in others:
            others.remove(future)
        for other in others:
            self.adopt(other, key)

    def lose(self, keys: Iterable[int] | None) -> list[F]:
        """The ends of these tasks (None: of all that are awaited) will not be heard; returns their futures."""
        lost = list(self.futures) if keys is None else list(keys)
        futures = [future for key in lost if (future := self.futures.pop(key, None)) is not None]
        return futures + [future for key in lost for future in self.duplicates.pop(key, ())]

    def keys_of_other_masters(self, epoch: int) -> list[int]:
        """The keys that another master than that of this epoch has given."""
        return [key for key in self.futures if key >> 40 != epoch]
