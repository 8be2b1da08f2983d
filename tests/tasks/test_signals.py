"""Tests of exceptions that a signal handler raises while a task's arguments, result or exception become bytes."""

import functools
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import distq
from distq import testing
from distq.client.outcome import unpacked
from distq.core.states import DEAD
from distq.tasks.failure import ResultNotSent, TimeLimitExceeded, exception_of, pack_failure
from distq.tasks.payload import pack_call, run_payload
from distq.tasks.signals import raised_by_handler
from distq.worker.executor.handler import run_handler


class Deadline(Exception):
    """What a program's own handler raises."""


def expire(_number: int, _frame: object) -> None:
    """End the program's patience."""
    raise Deadline


def expire_at_limit(_number: int, _frame: object) -> None:
    """End the task, as its executor does."""
    raise TimeLimitExceeded("exceeded time limit 1 s")


class Alarm:
    """A value that a signal interrupts while it becomes bytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        signal.raise_signal(signal.SIGALRM)
        return Alarm, ()


class LateAlarm:
    """A value that cannot be pickled, and that a signal interrupts when pickle tries it for the second time."""

    def __init__(self) -> None:
        self.count = 0

    def __reduce__(self) -> tuple[Any, ...]:
        self.count += 1
        if self.count > 1:
            signal.raise_signal(signal.SIGALRM)
        raise TypeError("this value cannot be pickled")


class AlarmWhenRead:
    """A value that a signal interrupts while it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGALRM,)


class Silent:
    """A value whose class raises an error without a text."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError


class FailsWithAlarm(Exception):
    """An exception that a signal interrupts while a program rebuilds it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGALRM,)


def alarmed() -> Alarm:
    """Return a result that a signal interrupts."""
    return Alarm()


@pytest.fixture(name="handled_by")
def handler_of_alarm() -> Iterator[Callable[[Any], Any]]:
    """Yield how to set the handler of SIGALRM, which is set back."""
    before = signal.getsignal(signal.SIGALRM)
    yield functools.partial(signal.signal, signal.SIGALRM)
    signal.signal(signal.SIGALRM, before)


class Handlers:
    """Handlers of several forms."""

    def method(self, _number: int, _frame: object) -> None:
        """Raise as a method."""
        raise Deadline

    def __call__(self, *_given: object) -> None:
        """Raise as a callable object with any arguments."""
        raise Deadline


def expire_with(_text: str, _number: int, _frame: object) -> None:
    """Raise as a partial."""
    expire(_number, _frame)


HANDLERS = [
    expire,
    Handlers().method,
    Handlers(),
    functools.partial(expire_with, "late"),
]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("by_value", [False, True])
@pytest.mark.parametrize("value", [Alarm, LateAlarm])
def test_the_exception_of_a_signal_handler_comes_out_of_submit(
    handler: Any, by_value: bool, value: type[Any], handled_by: Callable[[Any], Any]
) -> None:
    """It is the caller's own, such as a deadline; the arguments did nothing wrong."""
    handled_by(handler)
    with testing.eager():
        client = distq.Client(by_value=by_value)
        for call in (lambda: client.submit(len, [value()]), lambda: list(client.map(len, [[value()]], chunksize=2))):
            with pytest.raises(Deadline):
                call()


def test_an_error_without_a_text_is_named_by_its_type() -> None:
    """A sentence never ends with an empty reason."""
    with testing.eager() as run, pytest.raises(distq.NotPicklable, match="cannot be pickled: RuntimeError"):
        run.client.submit(len, [Silent()])


def test_an_outcome_that_a_signal_interrupts_can_be_asked_for_again(handled_by: Callable[[Any], Any]) -> None:
    """The exception of the handler comes out, and is not kept as the task's outcome."""
    handled_by(expire)
    with pytest.raises(Deadline):
        unpacked(pickle.dumps(AlarmWhenRead()), None)
    handled_by(signal.SIG_IGN)
    body = pack_failure(ValueError(FailsWithAlarm()))
    handled_by(expire)
    with pytest.raises(Deadline):
        unpacked((DEAD, body, None), None)
    with pytest.raises(Deadline):
        exception_of(body, None)


def test_a_time_limit_while_a_result_is_pickled_is_named(handled_by: Callable[[Any], Any]) -> None:
    """The task has had its effects, so it is not run again; the error says that the time limit was the cause."""
    handled_by(expire_at_limit)
    with pytest.raises(ResultNotSent, match="TimeLimitExceeded: exceeded time limit 1 s"):
        run_payload(alarmed, pack_call(((), {}), 5), lambda value, _pack: value)
    ran = run_handler(lambda _payload: Alarm(), pickle.dumps(None), 1_000_000)
    assert "TimeLimitExceeded: exceeded time limit 1 s" in ran.text


def test_a_time_limit_in_a_submit_of_a_task_is_the_time_limit(handled_by: Callable[[Any], Any]) -> None:
    """A task that submits others is interrupted while their arguments are pickled; they did nothing wrong."""
    handled_by(expire_at_limit)
    with testing.eager() as run, pytest.raises(TimeLimitExceeded):
        run.client.submit(len, [Alarm()])


def test_an_error_of_the_values_own_class_is_none_of_a_handler() -> None:
    """Neither is one of a function that was given the frame before it, as tools for tracebacks are."""
    with pytest.raises(TypeError) as found:
        pickle.dumps(threading.Lock())
    assert not raised_by_handler(found.value)
    with pytest.raises(RuntimeError) as found_too:
        pickle.dumps(Silent())
    assert not raised_by_handler(found_too.value)
