"""The shared word of one executor: what it holds and runs, written by it and read by the supervisor.

It is anonymous memory, so the supervisor can still read it when the executor is dead, and reading costs the
executor nothing. Each field is one aligned 64-bit number: nobody ever sees half of one. Behind the numbers come
the leased batch (tasks and their deliveries) and, beyond what is mapped, the stack that the executor leaves there
when it is asked for it.

Two may take back what an executor has leased and not begun: its supervisor, and its own thread. Each sets
`revoked` and then reads what has begun; the executor writes what it begins and then looks at `revoked`. So a task
is begun, or handed back, or (when both happen at once) handed back twice, and never forgotten.
"""

import mmap
import os
from array import array
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

_BATCH, _SIZE, _STARTED, _REVOKED, _RETURNED, _DONE, _FAILED, _RELEASED, _ENDING, _STOP, _STOP_DELIVERY = range(11)
_RUN_S, _LIMIT_S, _BEGAN_S = range(16, 19)
_TABLE: Final = 32
TABLE_ROWS: Final = 1_000
"""How many tasks of a batch the word can name."""
WORD_BYTES: Final = (_TABLE + 2 * TABLE_ROWS) * 8
STACK_BYTES_MAX: Final = 60_000

BEGUN: Final = 0
"""The task may run."""
OVER: Final = 1
"""It and all behind it were handed back by whoever revoked the batch."""
DOUBTFUL: Final = 2
"""The batch was revoked in this very moment: the task must be handed back, the ones behind it have been."""


class Counts(NamedTuple):
    """What an executor has done since it started."""

    done: int = 0
    failed: int = 0
    released: int = 0
    run_s: float = 0.0

    def plus(self, other: "Counts") -> "Counts":
        """The sum of both."""
        return Counts(
            self.done + other.done,
            self.failed + other.failed,
            self.released + other.released,
            self.run_s + other.run_s,
        )


class Ending(Enum):
    """Why an executor ends by itself."""

    TASKS = 1
    """It has run as many tasks as it may."""
    MEMORY = 2
    """It has more memory than it may."""


class Place(NamedTuple):
    """Where an executor is: which batch, and which of its tasks it runs, -1 between tasks."""

    batch: int
    started: int


class Limit(NamedTuple):
    """The time limit of the task that runs, and when it began by the machine's monotonic clock; seconds."""

    limit_s: float
    began_s: float


class Word:
    """One executor's page of numbers."""

    __slots__ = ("_batch", "_floats", "_memory", "_numbers", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, WORD_BYTES)
        view = memoryview(self._memory)
        self._numbers = view.cast("q")
        self._floats = view.cast("d")
        self._batch = 0

    @classmethod
    def create(cls) -> "Word":
        """A new word, all zero."""
        fd = os.memfd_create("distq-word")
        os.ftruncate(fd, WORD_BYTES)
        word = cls(fd)
        word.rests()
        return word

    def close(self) -> None:
        """Give the memory and the descriptor back."""
        self._numbers.release()
        self._floats.release()
        self._memory.close()
        os.close(self.fd)

    # -- written by the executor -----------------------------------------------------------------

    def leases(self, deliveries: Sequence[int]) -> None:
        """Note a new batch: task, delivery, task, delivery, ...; none of it has begun."""
        numbers = self._numbers
        count = min(len(deliveries), 2 * TABLE_ROWS)
        # The size first and last: a reader who sees the batch's number sees its tasks.
        numbers[_SIZE] = 0
        self._batch = self._batch + 1
        numbers[_TABLE : _TABLE + count] = memoryview(array("q", deliveries[:count]))
        numbers[_BATCH] = self._batch
        numbers[_SIZE] = count // 2

    def begins(self, index: int) -> int:
        """Note that the executor begins this task of its batch; returns BEGUN, OVER or DOUBTFUL."""
        numbers = self._numbers
        batch = self._batch
        if numbers[_REVOKED] == batch:
            return OVER
        numbers[_STARTED] = index
        if numbers[_REVOKED] == batch:
            numbers[_STARTED] = -1
            return DOUBTFUL
        return BEGUN

    def rests(self) -> None:
        """Note that no task runs."""
        self._numbers[_STARTED] = -1

    def limits(self, limit_s: float, began_s: float) -> None:
        """Note the time limit of what is begun next, 0 for none any more."""
        self._floats[_BEGAN_S] = began_s
        self._floats[_LIMIT_S] = limit_s

    def ran(self, done: int, failed: int, run_s: float) -> None:
        """Count tasks that have ended, which took `run_s` seconds together."""
        self._numbers[_DONE] += done
        self._numbers[_FAILED] += failed
        self._floats[_RUN_S] += run_s

    def releases(self, count: int) -> None:
        """Count tasks that are handed back unstarted."""
        self._numbers[_RELEASED] += count

    def ends(self, why: Ending) -> None:
        """Note that the executor ends by itself, as it should."""
        self._numbers[_ENDING] = why.value

    # -- written by who takes back, and read -----------------------------------------------------

    def revoke(self, batch: int) -> None:
        """Have the executor begin nothing more of that batch."""
        self._numbers[_REVOKED] = batch

    def returned(self, batch: int) -> None:
        """Note that what was not begun of that batch has been handed back."""
        self._numbers[_RETURNED] = batch

    def is_returned(self, batch: int) -> bool:
        """Whether that was noted."""
        return self._numbers[_RETURNED] == batch

    def stop(self, task: int, delivery: int) -> None:
        """Name the task that shall be stopped, if it is the one that runs when the executor looks."""
        self._numbers[_STOP] = 0
        self._numbers[_STOP_DELIVERY] = delivery
        self._numbers[_STOP] = task

    @property
    def stopping(self) -> bool:
        """Whether the task that runs is the one that shall be stopped."""
        return self.running == (self._numbers[_STOP], self._numbers[_STOP_DELIVERY])

    def is_behind(self, task: int, delivery: int) -> bool:
        """Whether the task is one of the batch, behind the one that runs."""
        return (task, delivery) in self.unstarted(self.place)

    @property
    def place(self) -> Place:
        """Where the executor is now."""
        return Place(self._numbers[_BATCH], self._numbers[_STARTED])

    def unstarted(self, place: Place) -> list[tuple[int, int]]:
        """The tasks behind that place and their deliveries; none if it rests, or is elsewhere by now."""
        numbers = self._numbers
        if place.started < 0:
            return []
        first, last = _TABLE + 2 * (place.started + 1), _TABLE + 2 * numbers[_SIZE]
        flat = numbers[first:last].tolist() if last > first else []
        if self.place != place:
            return []
        return list(zip(flat[::2], flat[1::2], strict=True))

    @property
    def running(self) -> tuple[int, int] | None:
        """The task that runs now, or ran when the executor died, and its delivery."""
        numbers = self._numbers
        index = numbers[_STARTED]
        if not 0 <= index < numbers[_SIZE]:
            return None
        at = _TABLE + 2 * index
        return numbers[at], numbers[at + 1]

    @property
    def limit(self) -> Limit | None:
        """The time limit of the task that runs, if it has one."""
        limit_s = self._floats[_LIMIT_S]
        return Limit(limit_s, self._floats[_BEGAN_S]) if limit_s else None

    @property
    def ending(self) -> Ending | None:
        """Why the executor ends by itself, None if it does not."""
        why = self._numbers[_ENDING]
        return Ending(why) if why else None

    @property
    def counts(self) -> Counts:
        """What the executor has done so far."""
        numbers = self._numbers
        return Counts(numbers[_DONE], numbers[_FAILED], numbers[_RELEASED], self._floats[_RUN_S])

    def forget_stack(self) -> None:
        """Make room for the next one; the executor writes at the same place of the same file."""
        os.ftruncate(self.fd, WORD_BYTES)
        os.lseek(self.fd, WORD_BYTES, os.SEEK_SET)

    @property
    def stack(self) -> str:
        """The stack that the executor has left, '' if none."""
        return os.pread(self.fd, STACK_BYTES_MAX, WORD_BYTES).decode(errors="replace")
