"""What the HTTP side needs of the master to submit, find and cancel tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from distq.core.failure import Failure
    from distq.web.task_order import TaskOrder


class AcceptedTask(NamedTuple):
    """The answer to a submit: the store has the task."""

    task_key: int
    is_new: bool
    """Whether this submit has made the task; False if an earlier one had the same idempotency key or unique key."""


class FoundTask(NamedTuple):
    """A task as it is now."""

    facts: Mapping[str, Any]
    """Its facts as values that JSON can represent, as `distq show` has them."""
    has_ended: bool
    result: bytes | None = None
    """Its result as its worker wrote it; None if there is none, or the request did not need it."""
    failure: Failure | None = None
    """Why it became a dead letter."""


class TaskService(Protocol):
    """The tasks of one master. Each future ends with a result or a DistqError; a caller that leaves cancels it."""

    def submit(self, order: TaskOrder) -> asyncio.Future[AcceptedTask]:
        """Submit a task; the future has its result once the task is stored."""
        ...

    def find(self, task_key: int, wait_s: float = 0.0) -> asyncio.Future[FoundTask]:
        """Find a task; the future waits at most `wait_s` for its end."""
        ...

    def cancel(self, task_key: int, *, running: bool) -> asyncio.Future[FoundTask]:
        """Cancel a task that waits; with `running`, also one that runs."""
        ...
