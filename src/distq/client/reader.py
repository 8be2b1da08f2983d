"""What a future asks of the client that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distq.tasks.current import Progress


class Readable(Protocol):
    """What the client's reader needs of a future."""

    task_key: int | None
    """The key of its task; None until the master has accepted the task."""

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
        """Read until the future is done, as far as no other thread does; returns how much of the time is left."""
        ...

    def catch_up(self) -> None:
        """Hear, if it can be heard soon, whether the master has accepted what is on its way."""
        ...

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Have the master cancel these tasks; whether it has cancelled all of them."""
        ...

    def progress(self, key: int) -> Progress | None:
        """How far a task is."""
        ...

    def is_running(self, key: int) -> bool:
        """Whether a task runs, as far as is known soon."""
        ...

    def stream(self, future: Readable, timeout_s: float | None) -> Iterator[Any]:
        """The parts of a task's stream."""
        ...

    def deadlock(self, task: str, key: int) -> str:
        """Why a task that waits for another one does so for ever; '' if it does not, or that is not known."""
        ...

    def call_back(self, callbacks: Callable[[], None]) -> None:
        """Have a future's callbacks called by a thread that is free to wait."""
        ...

    @property
    def disowned(self) -> bool:
        """Whether a fork has copied it from the parent process, which alone hears how the tasks end."""
        ...
