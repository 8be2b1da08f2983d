"""The memory page that an executor shares with its supervisor: what the executor has done, and why it ends.

The page is anonymous memory, so the supervisor can read it when the executor is dead, and reading costs the executor
nothing. Each field is one aligned 64-bit number, which is always read whole. Behind the numbers of every page come
those of its kind (`BatchPage`, `SlotsPage`) and, beyond the mapped part, the stack that the executor writes on request.
"""

import mmap
import os
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, Self

from distq.worker.shared.lease_id import LeaseId

_DONE, _FAILED, _RELEASED, _ENDING = range(4)
_RUN_S, _LEASE_SINCE_AT, _LEASE_UNTIL_AT = range(4, 7)
_ASKED, _LEAVES = range(7, 9)
OWN: Final = 12
"""Index of the first number that belongs to the page's kind."""
NUMBERS: Final = 4_080
PAGE_BYTES: Final = NUMBERS * 8
STACK_BYTES_MAX: Final = 60_000


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


class Blame(NamedTuple):
    """The leases of tasks that may have killed an executor."""

    running: Sequence[LeaseId] = ()
    """The tasks that ran; if none did, the last one that had ended and was not settled."""
    ended: Sequence[LeaseId] = ()
    """If none ran: the tasks that had ended earlier and were not settled either."""


class Ending(Enum):
    """Why an executor ends by itself."""

    TASKS = 1
    """The executor has run the maximum number of tasks."""
    MEMORY = 2
    """The executor uses more than the maximum memory."""
    LEASE = 3
    """The executor's lease was over while it ran a lease-bound task."""


class ExecutorPage:
    """The numbers that every kind of executor shares with its supervisor."""

    __slots__ = ("_floats", "_memory", "_numbers", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, PAGE_BYTES)
        view = memoryview(self._memory)
        self._numbers = view.cast("q")
        self._floats = view.cast("d")

    @classmethod
    def create(cls) -> Self:
        """Make a new page, all zero."""
        fd = os.memfd_create("distq-page")
        os.ftruncate(fd, PAGE_BYTES)
        return cls(fd)

    def close(self) -> None:
        """Release the memory and the descriptor."""
        self._numbers.release()
        self._floats.release()
        self._memory.close()
        os.close(self.fd)

    # -- written by the executor -----------------------------------------------------------------

    def count_ended(self, done: int, failed: int, run_s: float) -> None:
        """Count tasks that have ended, which took `run_s` seconds together."""
        self._numbers[_DONE] += done
        self._numbers[_FAILED] += failed
        self._floats[_RUN_S] += run_s

    def count_released(self, count: int) -> None:
        """Count tasks that the executor releases before it begins them."""
        self._numbers[_RELEASED] += count

    def set_ending(self, why: Ending) -> None:
        """Note why the executor ends by itself, as it should."""
        self._numbers[_ENDING] = why.value

    def set_leaving(self) -> None:
        """Note that the executor has settled everything and only has to exit, which must not take long."""
        self._numbers[_LEAVES] = 1

    # -- written by the supervisor ---------------------------------------------------------------

    def ask_to_end(self) -> None:
        """Ask the executor to end: a task's own signal handler may have taken SIGTERM."""
        self._numbers[_ASKED] = 1

    @property
    def is_asked_to_end(self) -> bool:
        """Whether the supervisor has asked the executor to end."""
        return bool(self._numbers[_ASKED])

    def renew(self, since_at: float, until_at: float) -> None:
        """Note until when, by the machine's monotonic clock, this executor's leases hold.

        That is known of leases asked for after `since_at`; the master may have given earlier ones to other workers.
        """
        self._floats[_LEASE_SINCE_AT] = since_at
        self._floats[_LEASE_UNTIL_AT] = until_at

    @property
    def lease_until_at(self) -> float:
        """When the leases end, by the machine's monotonic clock."""
        return self._floats[_LEASE_UNTIL_AT]

    def has_lease(self, asked_at: float, now: float) -> bool:
        """Whether a lease asked for at `asked_at` is known to hold now."""
        return self._floats[_LEASE_SINCE_AT] <= asked_at and now < self._floats[_LEASE_UNTIL_AT]

    # -- read by the supervisor ------------------------------------------------------------------

    @property
    def ending(self) -> Ending | None:
        """Why the executor ends by itself, None if it does not."""
        why = self._numbers[_ENDING]
        return Ending(why) if why else None

    @property
    def is_leaving(self) -> bool:
        """Whether the executor has settled everything and only has to exit."""
        return bool(self._numbers[_LEAVES])

    @property
    def counts(self) -> Counts:
        """What the executor has done so far."""
        numbers = self._numbers
        return Counts(numbers[_DONE], numbers[_FAILED], numbers[_RELEASED], self._floats[_RUN_S])

    def forget_stack(self) -> None:
        """Remove the last stack: the executor writes the next one at the same place of the same file."""
        os.ftruncate(self.fd, PAGE_BYTES)
        os.lseek(self.fd, PAGE_BYTES, os.SEEK_SET)

    @property
    def stack(self) -> str:
        """The stack that the executor has written, '' if none."""
        return os.pread(self.fd, STACK_BYTES_MAX, PAGE_BYTES).decode(errors="replace")
