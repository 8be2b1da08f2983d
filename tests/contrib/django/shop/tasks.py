"""The tasks of the test project, as Django's programs write them."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

import distq
from distq.contrib.django.interface import task_finished, task_started

try:
    from django.tasks import task
except ModuleNotFoundError:
    from django_tasks import task


@task
def add(a: int, b: int = 1) -> int:
    """Return a number."""
    return a + b


@task(queue_name="mail", priority=10, takes_context=True)
def send(context: Any, to: str) -> list[Any]:
    """Return what the context says."""
    result = context.task_result
    return [context.attempt, result.id, result.status, result.args, result.task.queue_name, result.task.priority, to]


@task
async def waits(number: int) -> int:
    """Return a number from a coroutine."""
    return number


@task
def fails(text: str) -> None:
    """Raise an error."""
    raise ValueError(text)


@task
def exits() -> None:
    """End the program, as some libraries do."""
    sys.exit(3)


@task(backend="retrying", takes_context=True)
def shaky(context: Any) -> int:
    """Fail at the first attempt."""
    if context.attempt == 1:
        raise ValueError("again")
    return int(context.attempt)


@task
def echo(value: Any) -> Any:
    """Return an argument."""
    return value


@task
def secret() -> bytes:
    """Return bytes, of which JSON makes a text."""
    return b"text"


@task
def opaque() -> object:
    """Return what JSON cannot write."""
    return object()


@task
def count_orders() -> list[Any]:
    """Read the database, and say which process and connection did."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        (count,) = cursor.fetchone()
    return [count, os.getpid()]


@task
def zone() -> list[str]:
    """Return the time zone of the process, and of Django."""
    return [time.tzname[0], timezone.get_current_timezone_name()]


def connections_before(marker: str) -> list[bool]:
    """Return whether this process had an open connection when the function began, and open one."""
    was_open = connection.connection is not None
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return [was_open, connection.connection is not None]


def number_written(number: int) -> int:
    """Append a number and the id of the task to the file of the test."""
    with Path(os.environ["SHOP_SIGNALS"]).open("a") as stream:
        stream.write(f"number {number} {distq.current().id}\n")
    return number


def note(signal: str, result: Any) -> None:
    """Append a line about a signal to the file of the test."""
    with Path(os.environ["SHOP_SIGNALS"]).open("a") as stream:
        stream.write(f"{signal} {result.task.name} {result.status} {len(result.errors)}\n")


def started(sender: Any, task_result: Any, **_: Any) -> None:
    """Note that a task started."""
    note("started", task_result)


def finished(sender: Any, task_result: Any, **_: Any) -> None:
    """Note that a task finished."""
    note("finished", task_result)


task_started.connect(started)
task_finished.connect(finished)
