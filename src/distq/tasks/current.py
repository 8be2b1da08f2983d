"""The task that runs here: what a function can learn of its own run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from distq.core.errors import DistqError


class NotInTask(DistqError):
    """`distq.current()` was called outside a task."""

    code = "NOT_IN_TASK"
    hint = "Call it in a function that a worker runs; a function that is called directly is no task."


class Current(NamedTuple):
    """One run of a task, as its function sees it."""

    id: str
    """The task's id, as logs and the command line have it; the same in every attempt."""
    name: str
    queue: str
    attempt: int
    """From 1."""
    delivery: int
    """How often the task was handed to a worker, this time and those that were lost included."""
    deadline: float | None
    """When its time limit ends, in seconds since 1970, None without one."""


teller: Callable[[], Current | None] | None = None
"""Knows what runs; set by the executor."""


def current() -> Current:
    """The task that runs in this process.

    Raises:
        NotInTask: none does.
    """
    found = None if teller is None else teller()
    if found is None:
        raise NotInTask("No task runs here.")
    return found
