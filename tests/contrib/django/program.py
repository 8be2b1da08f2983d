"""A Django program that enqueues tasks and reads their results; prints `ok` at the end."""

import asyncio
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.core import checks
from django.db import transaction
from tests.waiting import eventually

import distq
from distq.contrib.django.backend import priority_of
from distq.contrib.django.interface import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, task_enqueued


def finished(result: Any) -> Any:
    """Wait until a task has finished, by the result of another process's eyes: each time as the master has it."""

    def is_finished() -> bool:
        result.refresh()
        return bool(result.is_finished)

    eventually(is_finished, f"task {result.id} finishes")
    return result


def check_results(tasks: Any) -> None:
    """Values, contexts and instants."""
    enqueued: list[Any] = []
    receive = lambda sender, task_result, **_: enqueued.append(task_result)  # noqa: E731 - it is one line
    task_enqueued.connect(receive)
    before = datetime.now(UTC)
    result = tasks.add.enqueue(1, b=2)
    assert (result.status, result.args, result.kwargs, result.backend) == ("READY", [1], {"b": 2}, "default")
    assert [one.id for one in enqueued] == [result.id]
    finished(result)
    assert (result.status, result.return_value, result.errors, result.attempts) == ("SUCCESSFUL", 3, [], 1)
    assert before <= result.enqueued_at <= result.started_at <= result.finished_at <= datetime.now(UTC)
    assert result.last_attempted_at == result.started_at
    again = tasks.add.get_result(result.id)
    assert again == result
    assert again.task == tasks.add
    sent = finished(tasks.send.enqueue("joe"))
    assert sent.return_value == [1, sent.id, "RUNNING", ["joe"], "mail", 10, "joe"]
    assert finished(tasks.waits.enqueue(7)).return_value == 7
    assert finished(tasks.echo.enqueue({"a": [1, 2.5, None, True]})).return_value == {"a": [1, 2.5, None, True]}
    assert finished(tasks.secret.enqueue()).return_value == "text"
    result = asyncio.run(tasks.add.aenqueue(5))
    assert finished(result).return_value == 6
    assert asyncio.run(tasks.add.aget_result(result.id)).return_value == 6
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.echo.enqueue(object())


def check_failures(tasks: Any) -> None:
    """Every exception but Ctrl-C is a failure with its class and traceback."""
    result = finished(tasks.fails.enqueue("no"))
    assert (result.status, result.args, result.attempts) == ("FAILED", ["no"], 1)
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert "in fails" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert finished(tasks.exits.enqueue()).errors[0].exception_class is SystemExit
    assert finished(tasks.opaque.enqueue()).errors[0].exception_class is TypeError
    result = finished(tasks.shaky.enqueue())
    assert (result.status, result.return_value, result.attempts, result.backend) == ("SUCCESSFUL", 2, 2, "retrying")
    for unknown in ("1-fffff", "not an id"):
        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(unknown)
    other = distq.Client().submit(len, [1])
    assert other.result(30) == 1
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result(other.task_id)


def check_options(tasks: Any) -> None:
    """The instant, the priority and the queue of a task."""
    later = tasks.add.using(run_after=datetime.now(UTC) + timedelta(hours=1), priority=-100)
    result = later.enqueue(1)
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)
    read = tasks.add.get_result(result.id)
    assert (read.status, read.args, read.task.run_after, read.task.priority) == ("READY", [1], later.run_after, -100)
    assert read.started_at is None
    assert distq.Client().future(result.id).cancel()
    result.refresh()
    assert (result.status, [error.exception_class for error in result.errors]) == ("FAILED", [distq.TaskCancelled])
    assert [priority_of(priority) for priority in (-100, -20, -1, 0, 1, 25, 26, 100)] == [0, 4, 4, 5, 6, 6, 7, 9]
    with pytest.raises(InvalidTask, match="Queue 'other' is not valid"):
        tasks.add.using(queue_name="other")
    with pytest.raises(InvalidTask, match="aware datetime"):
        tasks.add.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001 - what Django refuses
    tasks.add.func.__qualname__ = "a" * 120
    with pytest.raises(InvalidTask, match=r"The import path of a task has at most 103 bytes, and tests\..* has 152"):
        tasks.add.enqueue(1)
    tasks.add.func.__qualname__ = "add"


def check_transactions(tasks: Any) -> None:
    """`enqueue` does not wait for the commit; `transaction.on_commit` does."""
    with transaction.atomic():
        result = tasks.count_orders.enqueue()
        assert finished(result).return_value[0] == 0
        later: list[Any] = []
        transaction.on_commit(lambda: later.append(tasks.count_orders.enqueue()))
        with django.db.connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (1)")
        assert later == []
    assert finished(later[0]).return_value[0] == 1


def check_checks() -> None:
    """`manage.py check` has a sentence for each mistake in the settings."""
    errors = {error.id: error for error in checks.run_checks() if str(error.id).startswith("distq.")}
    assert list(errors) == ["distq.E001", "distq.E002", "distq.E003", "distq.E004"]
    assert errors["distq.E001"].msg == "TASKS['wrong']['OPTIONS'] has ADRESS; it takes ADDRESS, AUTHKEY, SUBMIT."
    assert "has queue, which each task decides" in errors["distq.E002"].msg
    assert "retires" in errors["distq.E003"].msg
    assert "key" in errors["distq.E004"].msg


def main() -> None:
    """Run with the cluster of the environment."""
    with sqlite3.connect(os.environ["SHOP_DATABASE"]) as database:
        database.execute("PRAGMA journal_mode=WAL")  # the task reads while the program's transaction is open
        database.execute("CREATE TABLE orders (number)")
    database.close()
    django.setup()
    from tests.contrib.django.shop import tasks  # noqa: PLC0415 - Django's apps must be loaded

    check_checks()
    check_results(tasks)
    check_failures(tasks)
    check_options(tasks)
    check_transactions(tasks)
    lines = Path(os.environ["SHOP_SIGNALS"]).read_text().splitlines()
    assert [line for line in lines if "shaky" in line] == [
        "started shaky RUNNING 0",
        "started shaky RUNNING 0",
        "finished shaky SUCCESSFUL 0",
    ]
    assert [line for line in lines if "fails" in line] == ["started fails RUNNING 0", "finished fails FAILED 1"]
    print("ok")


if __name__ == "__main__":
    main()
