"""The shared word of one executor: what it runs, written by it and read by the supervisor.

It is a page of anonymous memory, so the supervisor can still read it when the executor is dead, and reading
costs the executor nothing. Each field is one aligned 64-bit number: nobody ever sees half of one.
"""

import mmap
import os
from typing import Final, NamedTuple

WORD_BYTES: Final = 64

_TASK, _DELIVERY, _DONE, _FAILED, _RELEASED, _RUN_S, _LAST_RUN_S = range(7)


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


class Word:
    """One executor's page of numbers."""

    __slots__ = ("_floats", "_memory", "_numbers", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, WORD_BYTES)
        view = memoryview(self._memory)
        self._numbers = view.cast("q")
        self._floats = view.cast("d")

    @classmethod
    def create(cls) -> "Word":
        """A new word, all zero."""
        fd = os.memfd_create("distq-word")
        os.ftruncate(fd, WORD_BYTES)
        return cls(fd)

    def close(self) -> None:
        """Give the memory and the descriptor back."""
        self._numbers.release()
        self._floats.release()
        self._memory.close()
        os.close(self.fd)

    def starts(self, task_id: int, delivery: int) -> None:
        """Note that the executor begins a task."""
        # The delivery first: a reader who sees the task sees its delivery too.
        self._numbers[_DELIVERY] = delivery
        self._numbers[_TASK] = task_id

    def ends(self, run_s: float, *, failed: bool) -> None:
        """Note that the task has ended after `run_s` seconds."""
        numbers, floats = self._numbers, self._floats
        numbers[_TASK] = 0
        numbers[_FAILED if failed else _DONE] += 1
        floats[_RUN_S] += run_s
        floats[_LAST_RUN_S] = run_s

    def releases(self, count: int) -> None:
        """Note that so many tasks are handed back unstarted."""
        self._numbers[_RELEASED] += count

    @property
    def running(self) -> tuple[int, int] | None:
        """The task that runs now, or ran when the executor died, and its delivery."""
        task_id = self._numbers[_TASK]
        return (task_id, self._numbers[_DELIVERY]) if task_id else None

    @property
    def counts(self) -> Counts:
        """What the executor has done so far."""
        numbers = self._numbers
        return Counts(numbers[_DONE], numbers[_FAILED], numbers[_RELEASED], self._floats[_RUN_S])

    @property
    def last_run_s(self) -> float:
        """How long the last task took."""
        return self._floats[_LAST_RUN_S]
