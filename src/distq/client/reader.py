"""The protocols between a future and the client that reads its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distq.client.outcome import OutcomeReader
    from distq.tasks.current import Progress


class Readable(Protocol):
    """What the client's reader needs of a future."""

    task_key: int | None
    """The key of its task; None until the master has accepted the task."""
    reads: OutcomeReader | None
    """Reads its outcome; None for the ordinary way."""

    @property
    def task_id(self) -> str | None:
        """The id of its task, None until the master has accepted it."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether it has its outcome."""
        ...

    def wait_until_ended(self, limit_s: float | None) -> None:
        """Wait until it has its outcome; raises CancelledError, TimeoutError."""
        ...

    def result(self) -> Any:
        """What its task returned; raises what the task raised."""
        ...


class Reader(Protocol):
    """Reads results from the master, and asks it to cancel tasks."""

    def read_until_done(self, future: Readable, timeout_s: float | None) -> float | None:
        """Read results until the future is done, unless another thread reads; returns how much of the time is left."""
        ...

    def catch_up(self) -> None:
        """Wait briefly for the master to accept submits that were sent."""
        ...

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Make the master cancel tasks; returns whether it has cancelled all of them."""
        ...

    def progress(self, task_key: int) -> Progress | None:
        """The last progress report of a task."""
        ...

    def is_running(self, task_key: int) -> bool:
        """Whether a task runs, by an answer of the master that is at most 0.1 s old."""
        ...

    def stream(self, future: Readable, timeout_s: float | None) -> Iterator[Any]:
        """The values that a task yields."""
        ...

    def deadlock(self, task: str, task_key: int) -> str:
        """Why a task waits for another one without end; '' if it does not, or the master does not answer."""
        ...

    def call_back(self, callbacks: Callable[[], None]) -> None:
        """Call a future's callbacks in a thread in which they may wait."""
        ...

    @property
    def disowned(self) -> bool:
        """Whether a fork copied it from the parent process, which alone receives outcomes."""
        ...
