"""The shared page of an executor that runs one task at a time: its batch, the task that runs, and the time limit.

Both the supervisor and the executor's own flusher may take back leased tasks that have not begun. Each sets `revoked`
and then reads which task has begun; the executor writes which task it begins and then reads `revoked`. So a task is
begun, or released, or (when both happen at the same time) released twice, and never forgotten.
"""

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import NUMBERS, OWN, Blame, ExecutorPage

_BATCH, _SIZE, _BEGUN, _REVOKED, _RETURNED, _STOP, _STOP_DELIVERY, _LEASE_BOUND, _UNSETTLED = range(OWN, OWN + 9)
"""`_BEGUN` has the index of the running task, from 1; 0 between tasks. `_UNSETTLED` has the index of the last task that
has ended, 0 once it is settled: until then it is to blame if the executor dies."""
_LIMIT_S, _BEGAN_AT = range(24, 26)
_TABLE: Final = 32
TABLE_ROWS: Final = (NUMBERS - _TABLE) // 2
"""Maximum tasks of a batch that the page names."""

BEGUN: Final = 0
"""The task may run."""
OVER: Final = 1
"""The batch was revoked before: this task and the tasks behind it have been released."""
DOUBTFUL: Final = 2
"""The batch was revoked at the same time: this task must be released; the tasks behind it have been."""


class BatchPosition(NamedTuple):
    """A batch's number, and the index of the task of it that runs, -1 between tasks."""

    batch: int
    started: int


class StartedLimit(NamedTuple):
    """The time limit of the running task in seconds, and when the task began by the machine's monotonic clock."""

    limit_s: float
    began_at: float


class BatchPage(ExecutorPage):
    """The page of an executor that runs one task at a time."""

    __slots__ = ("_batch",)

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._batch = 0

    # -- written by the executor -----------------------------------------------------------------

    def set_batch(self, lease_numbers: Sequence[int]) -> None:
        """Note a new batch, of which nothing has begun: task, delivery, task, delivery, and so on."""
        numbers = self._numbers
        count = min(len(lease_numbers), 2 * TABLE_ROWS)
        # The size first and last: a reader that sees the batch's number sees its tasks.
        numbers[_SIZE] = numbers[_UNSETTLED] = 0
        self._batch = self._batch + 1
        if count == 2:  # one task, for which the array would cost most of this method
            numbers[_TABLE], numbers[_TABLE + 1] = lease_numbers
        else:
            numbers[_TABLE : _TABLE + count] = memoryview(array("q", lease_numbers[:count]))
        numbers[_BATCH] = self._batch
        numbers[_SIZE] = count // 2

    def begin(self, index: int) -> int:
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

    def rest(self) -> None:
        """Note that no task runs; the last one stays to blame until it is settled."""
        numbers = self._numbers
        if begun := numbers[_BEGUN]:
            numbers[_UNSETTLED] = begun
            numbers[_BEGUN] = 0

    def all_settled(self) -> None:
        """Note that the master has taken all settlements."""
        self._numbers[_UNSETTLED] = 0

    def set_limit(self, limit_s: float, began_at: float) -> None:
        """Note the time limit of the task that begins next; 0 removes it."""
        self._floats[_BEGAN_AT] = began_at
        self._floats[_LIMIT_S] = limit_s

    def set_lease_bound(self, *, lease_bound: bool) -> None:
        """Note whether the task that begins next must end with its lease."""
        self._numbers[_LEASE_BOUND] = lease_bound

    @property
    def is_lease_bound(self) -> bool:
        """Whether the running task must end with its lease."""
        return bool(self._numbers[_LEASE_BOUND])

    # -- written by the side that takes tasks back, and read ----------------------------------------

    def revoke(self, batch: int) -> None:
        """Have the executor begin nothing more of that batch."""
        self._numbers[_REVOKED] = batch

    def set_returned(self, batch: int) -> None:
        """Note that the tasks of that batch that had not begun are released."""
        self._numbers[_RETURNED] = batch

    def is_returned(self, batch: int) -> bool:
        """Whether the tasks of that batch that had not begun are released."""
        return self._numbers[_RETURNED] == batch

    def stop(self, lease_id: LeaseId) -> None:
        """Name the task to stop, if it is the running one when the executor looks."""
        self._numbers[_STOP] = 0
        self._numbers[_STOP_DELIVERY] = lease_id.delivery
        self._numbers[_STOP] = lease_id.task_key

    @property
    def is_stopping(self) -> bool:
        """Whether the running task is the one to stop."""
        return self.running == (self._numbers[_STOP], self._numbers[_STOP_DELIVERY])

    def is_unstarted(self, lease_id: LeaseId) -> bool:
        """Whether the task is one of the batch, behind the running one."""
        return lease_id in self.unstarted(self.position)

    @property
    def position(self) -> BatchPosition:
        """Which batch the executor has, and which task of it runs."""
        return BatchPosition(self._numbers[_BATCH], self._numbers[_BEGUN] - 1)

    def unstarted(self, position: BatchPosition) -> list[LeaseId]:
        """The leases behind that position; none between tasks, or if the executor has moved on meanwhile."""
        numbers = self._numbers
        if position.started < 0:
            return []
        first, last = _TABLE + 2 * (position.started + 1), _TABLE + 2 * numbers[_SIZE]
        flat = numbers[first:last].tolist() if last > first else []
        if self.position != position:
            return []
        return list(map(LeaseId, flat[::2], flat[1::2]))

    @property
    def running(self) -> LeaseId | None:
        """The lease of the task that runs now, or ran when the executor died."""
        numbers = self._numbers
        index = numbers[_BEGUN] - 1
        if not 0 <= index < numbers[_SIZE]:
            return None
        at = _TABLE + 2 * index
        return LeaseId(numbers[at], numbers[at + 1])

    @property
    def all_running(self) -> list[LeaseId]:
        """The running task's lease alone, or nothing."""
        running = self.running
        return [] if running is None else [running]

    @property
    def blame(self) -> Blame:
        """The tasks that may have killed the executor."""
        numbers = self._numbers
        if running := self.all_running:
            return Blame(running)
        ended = self.held[: numbers[_UNSETTLED]]
        return Blame(ended[-1:], ended[:-1])

    @property
    def held(self) -> list[LeaseId]:
        """The leases of the newest batch, whether they are settled or not."""
        numbers = self._numbers
        flat = numbers[_TABLE : _TABLE + 2 * numbers[_SIZE]].tolist()
        return list(map(LeaseId, flat[::2], flat[1::2]))

    @property
    def limit(self) -> StartedLimit | None:
        """The time limit of the running task, if it has one."""
        limit_s = self._floats[_LIMIT_S]
        return StartedLimit(limit_s, self._floats[_BEGAN_AT]) if limit_s else None
