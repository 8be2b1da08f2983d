"""Tests of the exceptions that a future raises for its task."""

import asyncio
import concurrent.futures
import pickle
import re
import threading

import pytest

import distq
from distq.core.failure import Failure, pack_exception
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


class NeedsKeyword(Exception):
    """An exception whose constructor needs an argument that pickle does not know."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


class HoldsLock(Exception):
    """An exception that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("no")
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (NeedsKeyword("no", code=3), "it cannot be rebuilt from its args: TypeError: "),
        (HoldsLock(), "it cannot be pickled: TypeError: cannot pickle "),
        (ValueError("no" * 50_000), r"its pickle has 100,\d\d\d bytes, and 64,000 are allowed"),
        (SystemExit("no"), "it would end, cancel or exhaust this program"),
    ],
)
def test_task_failed_says_why_the_type_was_not_kept(error: BaseException, why: str) -> None:
    """The reason stays when the error itself travels through another task."""
    arrived = exception_of(pack_failure(error), None)
    assert isinstance(arrived, TaskFailed)
    assert re.search(rf"(no)+ \(not raised as its own type, because {why}", str(arrived))
    again = exception_of(pack_failure(arrived), None)
    assert str(again) == str(arrived)


def test_task_failed_says_why_a_class_is_not_available_here() -> None:
    """The program may lack the module that the worker has."""
    pickled = pickle.dumps(ValueError("no")).replace(b"ValueError", b"ValuError_")
    arrived = exception_of(pack_exception(Failure("m:E", "no", "", pickled)), None)
    assert str(arrived).startswith("m:E: no (not raised as its own type, because it cannot be rebuilt here: Attribute")
