"""The shared board of an executor that runs several tasks at once: each seat's task, since when, and its time limit."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from distq.worker.shared.page import NUMBERS, OWN, Blame, ExecutorPage

_TASK, _DELIVERY, _LIMIT_S, _BEGAN_S, _STOP, _FENCED = range(6)
"""What a seat's row has; the task is 0 while nobody sits there."""
_ROW: Final = 6
UNSETTLED_MAX: Final = 400
"""Tasks that have ended and are not settled: the page has room for this many; older ones are not blamed for a death."""
_UNSETTLED: Final = NUMBERS - 1 - 2 * UNSETTLED_MAX
"""Where their count is; behind it they are themselves."""
EXECUTOR_SLOTS_MAX: Final = (_UNSETTLED - OWN) // _ROW


class SlotTask(NamedTuple):
    """One task that runs."""

    delivery: tuple[int, int]
    """The task, and its delivery."""
    limit_s: float
    """Its time limit in seconds, 0 for none."""
    began_at: float
    """When it began, by the machine's monotonic clock."""


class SlotsPage(ExecutorPage):
    """The page of an executor that runs several tasks at once."""

    __slots__ = ()

    # -- written by the executor -----------------------------------------------------------------

    def starts(
        self, seat: int, task: int, delivery: int, limit_s: float, began_s: float, *, fenced: bool = False
    ) -> None:
        """Note that a task runs on this seat, and whether it must end with its lease."""
        at = OWN + seat * _ROW
        numbers, floats = self._numbers, self._floats
        numbers[at + _STOP] = 0
        numbers[at + _FENCED] = fenced
        numbers[at + _DELIVERY] = delivery
        floats[at + _LIMIT_S], floats[at + _BEGAN_S] = limit_s, began_s
        numbers[at + _TASK] = task  # last: who sees the task sees the rest of it

    def finishes(self, seat: int) -> None:
        """Note that the seat is free."""
        self._numbers[OWN + seat * _ROW + _TASK] = 0

    def unsettled(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Note which tasks have ended and are not settled yet."""
        numbers, newest = self._numbers, deliveries[-UNSETTLED_MAX:]
        numbers[_UNSETTLED] = 0
        for at, (task, delivery) in enumerate(newest):
            numbers[_UNSETTLED + 1 + 2 * at], numbers[_UNSETTLED + 2 + 2 * at] = task, delivery
        numbers[_UNSETTLED] = len(newest)

    def shall_stop(self, seat: int, delivery: int) -> bool:
        """Whether the task of that delivery, on this seat, shall be stopped."""
        return self._numbers[OWN + seat * _ROW + _STOP] == delivery

    # -- by the supervisor -----------------------------------------------------------------------

    def slot_task(self) -> Iterator[SlotTask]:
        """The tasks that run now, or ran when the executor died."""
        numbers, floats = self._numbers, self._floats
        for at in range(OWN, OWN + EXECUTOR_SLOTS_MAX * _ROW, _ROW):
            if task := numbers[at + _TASK]:
                seated = SlotTask((task, numbers[at + _DELIVERY]), floats[at + _LIMIT_S], floats[at + _BEGAN_S])
                if numbers[at + _TASK] == task:
                    yield seated

    @property
    def fenced(self) -> bool:
        """Whether something runs that must end with its lease."""
        numbers = self._numbers
        return any(
            numbers[at + _TASK] and numbers[at + _FENCED] for at in range(OWN, OWN + EXECUTOR_SLOTS_MAX * _ROW, _ROW)
        )

    @property
    def all_running(self) -> list[tuple[int, int]]:
        """The tasks that run, and their deliveries."""
        return [seated.delivery for seated in self.slot_task()]

    @property
    def blame(self) -> Blame:
        """By which tasks the executor may have died."""
        numbers, running = self._numbers, self.all_running
        flat = numbers[_UNSETTLED + 1 : _UNSETTLED + 1 + 2 * numbers[_UNSETTLED]].tolist()
        unsettled = list(zip(flat[::2], flat[1::2], strict=True))
        return Blame(running or unsettled)

    @property
    def held(self) -> list[tuple[int, int]]:
        """What is to be answered, as far as it has begun: what has not, the executor names itself at once."""
        return self.all_running

    @property
    def running(self) -> tuple[int, int] | None:
        """The one that runs; None also if there are several: nobody knows which of them did what."""
        running = self.all_running
        return running[0] if len(running) == 1 else None

    def stop(self, task: int, delivery: int) -> None:
        """Name a task that shall be stopped."""
        numbers = self._numbers
        for at in range(OWN, OWN + EXECUTOR_SLOTS_MAX * _ROW, _ROW):
            if numbers[at + _TASK] == task:
                numbers[at + _STOP] = delivery
