"""The shared word of an executor that runs one task at a time: what it holds and runs, and its time limit.

A page with the leased batch on it: tasks and their deliveries. Two may take back what an executor has leased and not
begun: its supervisor, and its own thread. Each sets `revoked` and then reads what has begun; the executor writes what
it begins and then looks at `revoked`. So a task is begun, or handed back, or (when both happen at once) handed back
twice, and never forgotten.
"""

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from distq.worker.shared.page import NUMBERS, OWN, Blame, ExecutorPage

_BATCH, _SIZE, _BEGUN, _REVOKED, _RETURNED, _STOP, _STOP_DELIVERY, _FENCED, _UNSETTLED = range(OWN, OWN + 9)
"""In `_BEGUN` is the index of the task that runs, from 1; 0 between tasks. In `_UNSETTLED` that of the last one that
has ended, 0 once its answer is settled: until then it is to blame if the executor dies."""
_LIMIT_S, _BEGAN_S = range(24, 26)
_TABLE: Final = 32
TABLE_ROWS: Final = (NUMBERS - _TABLE) // 2
"""How many tasks of a batch the word can name."""

BEGUN: Final = 0
"""The task may run."""
OVER: Final = 1
"""It and all behind it were handed back by whoever revoked the batch."""
DOUBTFUL: Final = 2
"""The batch was revoked in this very moment: the task must be handed back, the ones behind it have been."""


class BatchPosition(NamedTuple):
    """Where an executor is: which batch, and which of its tasks it runs, -1 between tasks."""

    batch: int
    started: int


class StartedLimit(NamedTuple):
    """The time limit of the task that runs, and when it began by the machine's monotonic clock; seconds."""

    limit_s: float
    began_at: float


class BatchPage(ExecutorPage):
    """The page of an executor that runs one task at a time."""

    __slots__ = ("_batch",)

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._batch = 0

    # -- written by the executor -----------------------------------------------------------------

    def leases(self, deliveries: Sequence[int]) -> None:
        """Note a new batch: task, delivery, task, delivery, ...; none of it has begun."""
        numbers = self._numbers
        count = min(len(deliveries), 2 * TABLE_ROWS)
        # The size first and last: a reader who sees the batch's number sees its tasks.
        numbers[_SIZE] = numbers[_UNSETTLED] = 0
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
        numbers[_BEGUN] = index + 1
        if numbers[_REVOKED] == batch:
            numbers[_BEGUN] = 0
            return DOUBTFUL
        return BEGUN

    def rests(self) -> None:
        """Note that no task runs; the last one stays to blame until it is settled."""
        numbers = self._numbers
        if begun := numbers[_BEGUN]:
            numbers[_UNSETTLED] = begun
            numbers[_BEGUN] = 0

    def settled(self) -> None:
        """Note that all answers have reached the master."""
        self._numbers[_UNSETTLED] = 0

    def limits(self, limit_s: float, began_s: float) -> None:
        """Note the time limit of what is begun next, 0 for none any more."""
        self._floats[_BEGAN_S] = began_s
        self._floats[_LIMIT_S] = limit_s

    def fence(self, *, fenced: bool) -> None:
        """Note that what is begun next must end with its lease, or that this is so no more."""
        self._numbers[_FENCED] = fenced

    @property
    def fenced(self) -> bool:
        """Whether something runs that must end with its lease."""
        return bool(self._numbers[_FENCED])

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
    def place(self) -> BatchPosition:
        """Where the executor is now."""
        return BatchPosition(self._numbers[_BATCH], self._numbers[_BEGUN] - 1)

    def unstarted(self, place: BatchPosition) -> list[tuple[int, int]]:
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
        index = numbers[_BEGUN] - 1
        if not 0 <= index < numbers[_SIZE]:
            return None
        at = _TABLE + 2 * index
        return numbers[at], numbers[at + 1]

    @property
    def all_running(self) -> list[tuple[int, int]]:
        """What runs: one task and its delivery, or nothing."""
        running = self.running
        return [] if running is None else [running]

    @property
    def blame(self) -> Blame:
        """By which tasks the executor may have died."""
        numbers = self._numbers
        if running := self.all_running:
            return Blame(running)
        ended = self.held[: numbers[_UNSETTLED]]
        return Blame(ended[-1:], ended[:-1])

    @property
    def held(self) -> list[tuple[int, int]]:
        """The tasks of the newest batch and their deliveries: each is to be answered, or has been."""
        numbers = self._numbers
        flat = numbers[_TABLE : _TABLE + 2 * numbers[_SIZE]].tolist()
        return list(zip(flat[::2], flat[1::2], strict=True))

    @property
    def limit(self) -> StartedLimit | None:
        """The time limit of the task that runs, if it has one."""
        limit_s = self._floats[_LIMIT_S]
        return StartedLimit(limit_s, self._floats[_BEGAN_S]) if limit_s else None
