"""A Django program that enqueues tasks and reads their results; prints `ok` at the end."""

import asyncio
import io
import os
import re
import socket
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import django
import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import transaction
from django.test.utils import override_settings
from tests.waiting import eventually

import distq
from distq.contrib.django import TaskBackend, connection, outbox
from distq.contrib.django.backend import priority_of
from distq.contrib.django.interface import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, task_enqueued

try:
    from django.tasks import task as make_task
    from django.tasks.exceptions import TaskResultMismatch
except ModuleNotFoundError:
    from django_tasks import task as make_task
    from django_tasks.exceptions import TaskResultMismatch


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


def check_validation(tasks: Any) -> None:
    """What Django itself asks of a task is asked where the task is made, changed or enqueued; results have one task."""
    backend = tasks.add.get_backend()
    flags = ("defer", "async_task", "get_result", "priority")
    assert all(getattr(backend, f"supports_{flag}") is True for flag in flags)
    for number in (-101, 101, 1.5):
        with pytest.raises(InvalidTask, match="priority must be a whole number between -100 and 100"):
            tasks.add.using(priority=number)
    for wrong in (lambda: None, check_validation.__get__(tasks), len):
        with pytest.raises((InvalidTask, TypeError)):
            make_task(wrong)
    with pytest.raises(InvalidTask, match="does not have a first argument of 'context'"):
        make_task(takes_context=True)(tasks.note)
    with override_settings(USE_TZ=False):  # a naive instant is one of the project's time zone
        soon = tasks.add.using(run_after=datetime.now() + timedelta(hours=1))  # noqa: DTZ005 - what it is about
        result = soon.enqueue(1)
    due_at = distq.client.client.facts_of(backend.client, result.id)["due_at"]
    assert due_at == pytest.approx(soon.run_after.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp(), abs=1)
    assert distq.Client().future(result.id).cancel()
    result = finished(tasks.add.enqueue(1))
    for other in (tasks.echo, tasks.waits):
        with pytest.raises(TaskResultMismatch):
            other.get_result(result.id)
    with pytest.raises(TaskResultMismatch):
        asyncio.run(tasks.echo.aget_result(result.id))
    (worker,) = result.worker_ids
    assert re.fullmatch(re.escape(socket.gethostname()) + r"-\d+", worker)
    with pytest.raises(ValueError, match="has not finished"):
        _ = tasks.add.using(run_after=datetime.now(UTC) + timedelta(hours=1)).enqueue(2).return_value
    for arguments in ((), (1, 2, 3)):
        result = finished(tasks.add.enqueue(*arguments))  # Django does not compare arguments with the function
        assert result.errors[0].exception_class_path == "builtins.TypeError"
        assert "add() " in result.errors[0].traceback


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


def check_enqueue_on_commit(tasks: Any) -> None:
    """The id is known before the commit; a rolled-back transaction submits nothing."""
    add = tasks.add.using(backend="committed")
    sent: list[Any] = []
    receive = lambda sender, task_result, **_: sent.append(task_result.id)  # noqa: E731 - it is one line
    task_enqueued.connect(receive)
    with transaction.atomic():
        result = add.enqueue(1, b=4)
        assert result.id
        assert sent == []
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(result.id)
    assert sent == [result.id]
    assert finished(result).return_value == 5
    assert add.get_result(result.id) == result
    assert asyncio.run(add.aget_result(result.id)).return_value == 5
    asyncio.run(result.arefresh())
    with transaction.atomic():
        lost = add.enqueue(2)
        transaction.set_rollback(True)
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(lost.id)
    assert sent == [result.id]
    outside = tasks.send.using(backend="committed").enqueue("joe")  # without a transaction: immediately
    assert finished(outside).return_value == [1, outside.id, "RUNNING", ["joe"], "mail", 10, "joe"]
    failing = finished(tasks.fails.using(backend="committed").enqueue("no"))
    assert (failing.status, failing.errors[0].exception_class) == ("FAILED", ValueError)
    with transaction.atomic(), pytest.raises(TypeError, match="Unsupported type"):
        tasks.echo.using(backend="committed").enqueue(object())
    with transaction.atomic(), pytest.raises(distq.PayloadTooLarge):  # where it is given, not in the commit
        tasks.echo.using(backend="committed").enqueue("x" * (17 << 20))
    for unknown in ("@default", "1@", f"{'0' * 32}@default", f"{'0' * 32}@other"):
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(unknown)


def check_outbox(tasks: Any) -> None:
    """A row commits or rolls back with the data; a relay submits it, and the result has its id all the time."""
    add = tasks.add.using(backend="outbox")
    with transaction.atomic():
        result = add.enqueue(1, b=8)
        outbox.add(tasks.number_written, 1)
        outbox.options(queue="mail", delay=0.01).add(tasks.number_written, 2)
    with transaction.atomic():
        lost = add.enqueue(2)
        outbox.add(tasks.number_written, 3)
        transaction.set_rollback(True)
    assert result.status == "READY"
    waiting = add.get_result(result.id)
    assert (waiting.status, waiting.args, waiting.kwargs, waiting.task) == ("READY", [1], {"b": 8}, add)
    assert relay("--doubtful", "status") == "3 rows waiting, 0 rows in doubt\n"
    relay("--once")
    assert relay("--doubtful", "status") == "0 rows waiting, 0 rows in doubt\n"
    assert finished(result).return_value == 9
    assert add.get_result(result.id).backend == "outbox"
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(lost.id)
    later = tasks.send.using(backend="outbox", run_after=datetime.now(UTC) + timedelta(hours=1)).enqueue("ann")
    relay("--once")
    read = tasks.send.get_result(later.id)
    assert (read.status, read.id, read.task.run_after) == ("READY", later.id, later.task.run_after)
    eventually(lambda: {"number 1", "number 2"} <= numbers(), "the tasks of the outbox have run", numbers)
    assert "number 3" not in numbers()
    for wrong in ({"unique_key": "k"}, {"debounce": 1}, {"full": "raise"}, {"retires": 1}):
        with pytest.raises(TypeError):
            outbox.options(**wrong)
    with pytest.raises(distq.NotATask):
        outbox.add(lambda: None)
    with pytest.raises(TypeError):
        outbox.add(tasks.number_written)


def relay(*arguments: str) -> str:
    """Return what the command of the relay prints."""
    output = io.StringIO()
    call_command("distq_outbox", *arguments, stdout=output)
    return output.getvalue().removeprefix("The relay of the outbox runs; Ctrl-C ends it.\n")


def numbers() -> set[str]:
    """Return the numbers that tasks have written."""
    lines = Path(os.environ["SHOP_SIGNALS"]).read_text().splitlines()
    return {" ".join(line.split()[:2]) for line in lines if line.startswith("number")}


def check_surroundings(tasks: Any) -> None:
    """Tasks run in the time zone of the project, and each with fresh connections to databases."""
    assert finished(tasks.zone.enqueue()).return_value == ["CET", "Europe/Berlin"]
    client = distq.Client()
    for number in range(4):
        assert client.submit(tasks.connections_before, str(number)).result(30) == [False, True]


def check_checks() -> None:
    """`manage.py check` has a sentence for each mistake in the settings."""
    assert [error for error in checks.run_checks() if str(error.id).startswith("distq.")] == []

    def found(**options: Any) -> dict[str, str]:
        backend = TaskBackend("wrong", {"OPTIONS": options})
        return {error.id: f"{error.msg} {error.hint or ''}" for error in backend.check()}

    errors = found(ADRESS="a:1", AUTHKEY="", SUBMIT={"queue": "mail", "retires": 3}, OUTBOX="yes")
    assert list(errors) == ["distq.E001", "distq.E002", "distq.E003", "distq.E005", "distq.E004"]
    known = "ADDRESS, AUTHKEY, SUBMIT, ENQUEUE_ON_COMMIT, OUTBOX"
    assert errors["distq.E001"] == f"TASKS['wrong']['OPTIONS'] has ADRESS; it takes {known}. Remove it."
    assert "has queue, which each task decides" in errors["distq.E002"]
    assert "retires" in errors["distq.E003"]
    assert "key" in errors["distq.E004"]
    assert "['OUTBOX'] is True or False, not 'yes'." in errors["distq.E005"]
    both = found(ENQUEUE_ON_COMMIT=True, OUTBOX=True, SUBMIT={"unique_key": "k", "unique_for": 5})
    assert "Remove ENQUEUE_ON_COMMIT" in both["distq.E006"]
    assert "has unique_for, unique_key, and with ENQUEUE_ON_COMMIT or OUTBOX" in both["distq.E008"]
    with override_settings(INSTALLED_APPS=["distq.contrib.django"]):
        assert "Add 'distq.contrib.django.outbox' to INSTALLED_APPS" in found(OUTBOX=True)["distq.E007"]
    assert found() == {}
    check_checks_of_values(found)
    check_checks_without_a_key(found)


def check_checks_of_values(found: Callable[..., dict[str, str]]) -> None:
    """A value of a wrong type is a sentence, and that of an unknown option names only options that SUBMIT takes."""
    no_dicts: list[Any] = [None, [], "x"]
    for value in no_dicts:
        (error,) = TaskBackend("wrong", {"OPTIONS": value}).check()
        assert (error.id, error.msg) == ("distq.E009", f"TASKS['wrong']['OPTIONS'] is a dict, not {value!r}.")
        sentence = f"TASKS['wrong']['OPTIONS']['SUBMIT'] is a dict, not {value!r}."
        assert found(SUBMIT=value)["distq.E009"].startswith(sentence)
        with pytest.raises(ImproperlyConfigured, match=re.escape(sentence)):
            TaskBackend("wrong", {"OPTIONS": {"SUBMIT": value}}).enqueue(None, (), {})
    masters: list[tuple[dict[str, Any], str]] = [
        ({"ADDRESS": 9000}, "address is a text, host:port"),
        ({"ADDRESS": ["a:1"]}, "address is a text, host:port"),
        ({"AUTHKEY": ["k"]}, "authkey is the key as text or bytes, not a list"),
    ]
    for options, text in masters:
        assert text in found(**options)["distq.E004"]
    assert found(AUTHKEY=bytearray(b"k" * 40)) == {}
    (error,) = TaskBackend("wrong", {"OPTIONS": {1: 2, "x": 3}}).check()
    assert "has 1, x; it takes ADDRESS" in error.msg
    submits: list[tuple[dict[Any, Any], str]] = [
        (
            {"every": 5},
            "on `submit`. It is an option of a schedule: call `schedule`, or leave it out. ",
        ),
        ({"on_failure": "run"}, "on_failure has no effect on `submit`"),
        ({"concurrency": 2}, "concurrency needs concurrency_key too"),
        ({1: 2, "x": 3}, "there is no option 1; there is"),
    ]
    for submit, text in submits:
        assert text in found(SUBMIT=submit)["distq.E003"]
    assert found(SUBMIT=dict.fromkeys(("retries", "full", "unique_key", "queue")), OUTBOX=True) == {}
    refused = {"queue", "priority", "delay", "eta", "every", "cron", "on_failure", "retry_for"}
    unique = {"unique_key", "unique_for", "on_conflict", "debounce"}
    for flags, more in (({}, set()), ({"ENQUEUE_ON_COMMIT": True}, unique), ({"OUTBOX": True}, {*unique, "full"})):
        sentence = found(SUBMIT={"retires": 3}, **flags)["distq.E003"]
        offered = set(sentence.strip().rstrip(".").partition("there is no option 'retires'; there is ")[2].split(", "))
        assert {"retries", "time_limit", "expires"} <= offered
        assert not offered & (refused | more)
        assert offered >= ({*unique, "full"} - more)
    assert "has full, and a row of the outbox waits" in found(SUBMIT={"full": "block"}, OUTBOX=True)["distq.E010"]


def check_checks_without_a_key(found: Callable[..., dict[str, str]]) -> None:
    """A program that only adds rows to the outbox needs no key; `get_result` needs one."""
    with patch.dict(os.environ, DISTQ_AUTHKEY=""), patch.dict(connection._clients, clear=True):
        assert list(found()) == list(found(ENQUEUE_ON_COMMIT=True)) == ["distq.E004"]
        (warning,) = TaskBackend("wrong", {"OPTIONS": {"OUTBOX": True}}).check()
        assert (warning.id, warning.level) == ("distq.W001", checks.WARNING)
        assert "There is no key" in warning.msg
        assert "get_result" in warning.msg
        assert "'distq.W001'" in warning.hint
        assert list(found(OUTBOX=True, AUTHKEY="")) == ["distq.E004"]


def main() -> None:
    """Run with the cluster of the environment."""
    with sqlite3.connect(os.environ["SHOP_DATABASE"]) as database:
        database.execute("PRAGMA journal_mode=WAL")  # the task reads while the program's transaction is open
        database.execute("CREATE TABLE orders (number)")
    database.close()
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)  # the migrations and the model agree
    from tests.contrib.django.shop import tasks  # noqa: PLC0415 - Django's apps must be loaded

    check_checks()
    check_results(tasks)
    check_failures(tasks)
    check_options(tasks)
    check_validation(tasks)
    check_transactions(tasks)
    check_enqueue_on_commit(tasks)
    check_outbox(tasks)
    check_surroundings(tasks)
    lines = Path(os.environ["SHOP_SIGNALS"]).read_text().splitlines()
    assert [line for line in lines if "shaky" in line] == [
        "started shaky RUNNING 0",
        "started shaky RUNNING 0",
        "finished shaky SUCCESSFUL 0",
    ]
    assert [line for line in lines if "fails" in line] == ["started fails RUNNING 0", "finished fails FAILED 1"] * 2
    print("ok")


if __name__ == "__main__":
    main()
