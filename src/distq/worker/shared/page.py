"""The shared page of one executor: what it has done and why it ends, written by it and read by the supervisor.

It is anonymous memory, so the supervisor can still read it when the executor is dead, and reading costs the
executor nothing. Each field is one aligned 64-bit number: nobody ever sees half of one. Behind the numbers of every
page come those of its kind (`word.Word`, `board.Board`) and, beyond what is mapped, the stack that the executor leaves
there when it is asked for it.
"""

import mmap
import os
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, Self

_DONE, _FAILED, _RELEASED, _ENDING = range(4)
_RUN_S, _LEASE_SINCE_S, _LEASE_UNTIL_S = range(4, 7)
_ASKED, _LEAVES = range(7, 9)
OWN: Final = 12
"""From here on the numbers are those of the page's kind."""
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
    """Tasks by which an executor may have died, each with its delivery."""

    running: Sequence[tuple[int, int]] = ()
    """What ran; if nothing did, what had ended last and was not settled: each of these can be to blame."""
    begun: Sequence[tuple[int, int]] = ()
    """If nothing ran: what had ended before, and was not settled either."""


class Ending(Enum):
    """Why an executor ends by itself."""

    TASKS = 1
    """It has run as many tasks as it may."""
    MEMORY = 2
    """It has more memory than it may."""
    LEASE = 3
    """Its lease was over, and what it ran had to end with that."""


class ExecutorPage:
    """One executor's page of numbers."""

    __slots__ = ("_floats", "_memory", "_numbers", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, PAGE_BYTES)
        view = memoryview(self._memory)
        self._numbers = view.cast("q")
        self._floats = view.cast("d")

    @classmethod
    def create(cls) -> Self:
        """A new page, all zero."""
        fd = os.memfd_create("distq-page")
        os.ftruncate(fd, PAGE_BYTES)
        return cls(fd)

    def close(self) -> None:
        """Give the memory and the descriptor back."""
        self._numbers.release()
        self._floats.release()
        self._memory.close()
        os.close(self.fd)

    # -- written by the executor -----------------------------------------------------------------

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

    def leaves(self) -> None:
        """Note that the executor has settled everything and ends: what is left to do must not take long."""
        self._numbers[_LEAVES] = 1

    # -- written by the supervisor ---------------------------------------------------------------

    def ask(self) -> None:
        """Note that the executor shall end: a task's own handler may have taken the signal that says so."""
        self._numbers[_ASKED] = 1

    @property
    def is_asked(self) -> bool:
        """Whether it shall end."""
        return bool(self._numbers[_ASKED])

    def renew(self, since_s: float, until_s: float) -> None:
        """Note until when, by the machine's monotonic clock, no other worker is given what this one holds.

        That is known of what was asked for after `since_s`: what was before may have been given to others meanwhile.
        """
        self._floats[_LEASE_SINCE_S] = since_s
        self._floats[_LEASE_UNTIL_S] = until_s

    @property
    def lease_until_at(self) -> float:
        """Until when that is so."""
        return self._floats[_LEASE_UNTIL_S]

    def has_lease(self, asked_at: float, now: float) -> bool:
        """Whether what was asked for then is known to be held by nobody else now."""
        return self._floats[_LEASE_SINCE_S] <= asked_at and now < self._floats[_LEASE_UNTIL_S]

    # -- read by the supervisor ------------------------------------------------------------------

    @property
    def ending(self) -> Ending | None:
        """Why the executor ends by itself, None if it does not."""
        why = self._numbers[_ENDING]
        return Ending(why) if why else None

    @property
    def is_leaving(self) -> bool:
        """Whether the executor has nothing more to do than to end."""
        return bool(self._numbers[_LEAVES])

    @property
    def counts(self) -> Counts:
        """What the executor has done so far."""
        numbers = self._numbers
        return Counts(numbers[_DONE], numbers[_FAILED], numbers[_RELEASED], self._floats[_RUN_S])

    def forget_stack(self) -> None:
        """Make room for the next one; the executor writes at the same place of the same file."""
        os.ftruncate(self.fd, PAGE_BYTES)
        os.lseek(self.fd, PAGE_BYTES, os.SEEK_SET)

    @property
    def stack(self) -> str:
        """The stack that the executor has left, '' if none."""
        return os.pread(self.fd, STACK_BYTES_MAX, PAGE_BYTES).decode(errors="replace")
