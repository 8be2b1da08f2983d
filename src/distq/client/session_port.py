"""The session of a client: what `distq.Client` needs of it, whichever way its tasks run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distq.client.future import TaskFuture
    from distq.client.outbox import SubmitOptions
    from distq.client.refusals import Refusals
    from distq.settings import Address, Settings


class SessionPort(Protocol):
    """Sends tasks for a client and receives their results; the docstrings of `distq.Client` say what each call does."""

    refusals: Refusals

    @property
    def addresses(self) -> Sequence[Address]:
        """The addresses of the masters that the client uses."""
        ...

    @property
    def stage(self) -> str:
        """What the session is doing, in words."""
        ...

    def send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Submit a task."""
        ...

    def send_together(self, tasks: Sequence[tuple[SubmitOptions, bytes]]) -> TaskFuture[Any]:
        """Submit several tasks in one submit; returns the future of the last one."""
        ...

    def administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to an operator's request."""
        ...

    def follow(self, task_key: int) -> TaskFuture[Any]:
        """The future of a task that the master already has."""
        ...

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until the master has accepted every submit so far; returns whether it has."""
        ...

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Wait until the master has answered every submit so far; False if the timeout ends first."""
        ...

    def pending_futures(self) -> list[TaskFuture[Any]]:
        """The futures of accepted tasks that have no outcome."""
        ...

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Accept no more submits."""
        ...

    def leave_block(self) -> None:
        """End after an exception in the client's `with` block."""
        ...

    def close(self) -> None:
        """End the session now; futures without an outcome fail."""
        ...

    def release(self) -> None:
        """Note that the program has no reference to the client any more."""
        ...

    def disown(self) -> None:
        """Release this copy, which a fork has made."""
        ...


class MakeSession(Protocol):
    """Makes the session of a new client."""

    def __call__(self, settings: Settings, *, waits_at_exit: bool) -> SessionPort:
        """Begin a session; `waits_at_exit` says whether the end of the process waits for its results."""
        ...
