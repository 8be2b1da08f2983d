"""The shared page of an executor that runs several tasks at the same time: each slot's task and its time limit."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import NUMBERS, OWN, Blame, ExecutorPage

_TASK, _DELIVERY, _LIMIT_S, _BEGAN_AT, _STOP, _LEASE_BOUND = range(6)
"""The numbers of a slot's row; the task is 0 while the slot is free."""
_ROW: Final = 6
UNSETTLED_MAX: Final = 400
"""Maximum ended tasks, not settled yet, that the page has room for; older ones are not blamed for a death."""
_UNSETTLED: Final = NUMBERS - 1 - 2 * UNSETTLED_MAX
"""Index of their count; the tasks are behind it."""
EXECUTOR_SLOTS_MAX: Final = (_UNSETTLED - OWN) // _ROW
"""Maximum slots of one executor: the page has room for this many rows."""
_SLOT_ROWS: Final = range(OWN, OWN + EXECUTOR_SLOTS_MAX * _ROW, _ROW)


class SlotTask(NamedTuple):
    """One task that runs."""

    lease_id: LeaseId
    limit_s: float
    """The task's time limit in seconds, 0 for none."""
    began_at: float
    """When the task began, by the machine's monotonic clock."""


class SlotsPage(ExecutorPage):
    """The page of an executor that runs several tasks at the same time."""

    __slots__ = ()

    # -- written by the executor -----------------------------------------------------------------

    def start(
        self, slot: int, lease_id: LeaseId, limit_s: float, began_at: float, *, is_lease_bound: bool = False
    ) -> None:
        """Note that a task runs in this slot, and whether it must end with its lease."""
        at = OWN + slot * _ROW
        numbers, floats = self._numbers, self._floats
        numbers[at + _STOP] = 0
        numbers[at + _LEASE_BOUND] = is_lease_bound
        numbers[at + _DELIVERY] = lease_id.delivery
        floats[at + _LIMIT_S], floats[at + _BEGAN_AT] = limit_s, began_at
        numbers[at + _TASK] = lease_id.task_key  # last: a reader that sees the task sees the rest of the row

    def finish(self, slot: int) -> None:
        """Note that the slot is free."""
        self._numbers[OWN + slot * _ROW + _TASK] = 0

    def set_unsettled(self, lease_ids: Sequence[tuple[int, int]]) -> None:
        """Note which tasks have ended and are not settled yet."""
        numbers, newest = self._numbers, lease_ids[-UNSETTLED_MAX:]
        numbers[_UNSETTLED] = 0
        for index, (task_key, delivery) in enumerate(newest):
            numbers[_UNSETTLED + 1 + 2 * index], numbers[_UNSETTLED + 2 + 2 * index] = task_key, delivery
        numbers[_UNSETTLED] = len(newest)

    def shall_stop(self, slot: int, delivery: int) -> bool:
        """Whether the supervisor has named the task of that delivery, in this slot, to be stopped."""
        return self._numbers[OWN + slot * _ROW + _STOP] == delivery

    # -- by the supervisor -----------------------------------------------------------------------

    def slot_tasks(self) -> Iterator[SlotTask]:
        """The tasks that run now, or ran when the executor died."""
        numbers, floats = self._numbers, self._floats
        for at in _SLOT_ROWS:
            if task_key := numbers[at + _TASK]:
                lease_id = LeaseId(task_key, numbers[at + _DELIVERY])
                task = SlotTask(lease_id, floats[at + _LIMIT_S], floats[at + _BEGAN_AT])
                if numbers[at + _TASK] == task_key:
                    yield task

    @property
    def is_lease_bound(self) -> bool:
        """Whether a running task must end with its lease."""
        numbers = self._numbers
        return any(numbers[at + _TASK] and numbers[at + _LEASE_BOUND] for at in _SLOT_ROWS)

    @property
    def all_running(self) -> list[LeaseId]:
        """The leases of the running tasks."""
        return [task.lease_id for task in self.slot_tasks()]

    @property
    def blame(self) -> Blame:
        """The tasks that may have killed the executor."""
        numbers, running = self._numbers, self.all_running
        flat = numbers[_UNSETTLED + 1 : _UNSETTLED + 1 + 2 * numbers[_UNSETTLED]].tolist()
        return Blame(running or list(map(LeaseId, flat[::2], flat[1::2])))

    @property
    def held(self) -> list[LeaseId]:
        """The leases of the running tasks: the executor itself names the others in its `hello`."""
        return self.all_running

    @property
    def running(self) -> LeaseId | None:
        """The lease of the only running task; None if several run: any of them can be the cause of what happens."""
        running = self.all_running
        return running[0] if len(running) == 1 else None

    def stop(self, lease_id: LeaseId) -> None:
        """Name a task to be stopped."""
        numbers = self._numbers
        for at in _SLOT_ROWS:
            if numbers[at + _TASK] == lease_id.task_key:
                numbers[at + _STOP] = lease_id.delivery
