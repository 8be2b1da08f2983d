"""Tests of the exceptions that a future raises for its task."""

import asyncio
import concurrent.futures

import pytest

import distq
from distq.tasks.failure import TaskFailed, exception_of, pack_failure


class Leaves(SystemExit):
    """A task's own kind of end."""


class Exhausted(StopIteration):
    """The same, of an iteration."""


@pytest.mark.parametrize(
    "error",
    [
        SystemExit("3"),
        Leaves("3"),
        KeyboardInterrupt("3"),
        GeneratorExit("3"),
        StopIteration("3"),
        Exhausted("3"),
        StopAsyncIteration("3"),
        asyncio.CancelledError("3"),
        concurrent.futures.CancelledError("3"),
        distq.TaskCancelled("3"),
        BaseExceptionGroup("3", [KeyboardInterrupt()]),
        ExceptionGroup("3", [ValueError(), ExceptionGroup("inner", [StopIteration()])]),
    ],
)
def test_an_exception_that_would_end_the_waiting_program_arrives_as_task_failed(error: BaseException) -> None:
    """The exception was meant for the task; TaskFailed has its kind and its text."""
    arrived = exception_of(pack_failure(error), None)
    assert isinstance(arrived, TaskFailed)
    assert arrived.kind.endswith(f":{type(error).__qualname__}")
    assert "3" in arrived.text


def test_other_exceptions_arrive_as_themselves() -> None:
    """Exception groups arrive unchanged, too."""
    for error in (ValueError("no"), TimeoutError("late"), ExceptionGroup("several", [ValueError("no")])):
        arrived = exception_of(pack_failure(error), None)
        assert (type(arrived), str(arrived)) == (type(error), str(error))
