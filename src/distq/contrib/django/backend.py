"""`distq.contrib.django.TaskBackend`: enqueues Django's tasks in a distq master, and reads their results there."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from distq.client.client import facts_of, facts_of_unique, submit_later
from distq.contrib.django import outbox
from distq.contrib.django.connection import MasterOptions
from distq.contrib.django.interface import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    task_enqueued,
)
from distq.contrib.django.results import EnqueuedTask, change, ready_result, result_of, waiting_result
from distq.contrib.outbox.rows import EXCLUDED_OPTIONS, UNIQUE_OPTIONS
from distq.core.head import TASK_NAME_BYTES_MAX
from distq.core.option_values import PRIORITY_DEFAULT
from distq.core.ranges import shown
from distq.core.task_ids import task_key_of
from distq.protocol.submit import RETURN
from distq.settings import SettingsError
from distq.tasks.options import checked_to_submit
from distq.wire.errors import RemoteRefusal

FLAGS: Final = ("ENQUEUE_ON_COMMIT", "OUTBOX")
OPTIONS: Final = ("ADDRESS", "AUTHKEY", "SUBMIT", *FLAGS)
DEFAULTS: Final = {"retries": 0, "full": "raise"}
"""Options of every submit: Django knows no retries, and `enqueue` raises QueueFull."""
FOUND_S: Final = 1.0
"""The option `unique_for` of a task whose result has an id before the master has the task: with this option the master
finds the task by its unique key until it drops the task."""
ID_SEPARATOR: Final = "@"
"""Separates the unique key and the queue in the id of such a result."""
OWN: Final = ("delay", "eta", "priority", "queue")
"""Options that the task itself decides."""
DJANGO_PRIORITY_MAX: Final = 100
PRIORITY_MAX: Final = 9


class TaskBackend(MasterOptions, BaseTaskBackend):  # type: ignore[misc] # Django has no types
    """A backend of Django's tasks, for the setting TASKS.

        TASKS = {
            "default": {
                "BACKEND": "distq.contrib.django.TaskBackend",
                "QUEUES": ["default", "mail"],
                "OPTIONS": {"ADDRESS": "queue:9000", "SUBMIT": {"retries": 3, "time_limit": "10m"}},
            },
        }

    `ADDRESS` and `AUTHKEY` are those of `distq.Client`, with the same defaults; `SUBMIT` has options as
    `client.options` takes them. With `ENQUEUE_ON_COMMIT` the task is submitted after the commit of the transaction in
    which it was enqueued. With `OUTBOX` it is a row of `distq.contrib.django.outbox`, which a relay submits. In both
    cases the id of the result is known immediately, and a transaction that is rolled back submits nothing.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._setting = f"TASKS[{alias!r}]['OPTIONS']"
        self._no_dict: str | None = None
        """The sentence about a value that is no dict: the system check and `enqueue` report it, not an import."""
        self.options = self._dict(self._setting, self.options)
        self._given = self._dict(f"{self._setting}['SUBMIT']", self.options.get("SUBMIT", {}))
        self._submit = {**DEFAULTS, **{name: value for name, value in self._given.items() if value is not None}}
        self._on_commit, self._outbox = (self.options.get(flag) is True for flag in FLAGS)

    def _dict(self, setting: str, value: Any) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self._no_dict = f"{setting} is a dict, not {shown(value)}."
        return {}

    def validate_task(self, task: Task) -> None:
        """Raise InvalidTask for a task that this backend cannot enqueue."""
        super().validate_task(task)
        name_bytes = len(name_of(task).encode())
        if name_bytes > TASK_NAME_BYTES_MAX:
            raise InvalidTask(
                f"The import path of a task has at most {TASK_NAME_BYTES_MAX - len(name_of_path(''))} bytes, and "
                f"{task.module_path} has {name_bytes - len(name_of_path(''))}."
            )

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Have the master accept the task, immediately or as the options ENQUEUE_ON_COMMIT and OUTBOX say.

        Raises:
            InvalidTask: the backend cannot enqueue it.
            QueueFull, RefusedSubmit: the master refuses it.
            PayloadTooLarge: the arguments are larger than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master answered within DISTQ_CONNECT_WAIT_S.
            ImproperlyConfigured: OPTIONS or SUBMIT is no dict.

        With ENQUEUE_ON_COMMIT the errors of the master are raised by the commit; with OUTBOX by the relay.
        """
        from distq.contrib.django.run import task_at  # noqa: PLC0415 - it imports what needs the apps of Django

        if self._no_dict is not None:
            raise ImproperlyConfigured(self._no_dict)
        self.validate_task(task)
        request = EnqueuedTask(
            self.alias, task.priority, task.queue_name, task.run_after, timezone.now(), self._submit["retries"]
        )
        key = uuid.uuid4().hex if self._on_commit or self._outbox else ""
        if key:
            request = request._replace(result_id=f"{key}{ID_SEPARATOR}{task.queue_name}")
        result = ready_result(task, request.result_id, list(args), dict(kwargs), request)
        options = {**self._submit, "queue": task.queue_name, "priority": priority_of(task.priority)}
        if task.run_after is not None:
            options["eta"] = _aware(task.run_after)
        # Copies: the worker's are those of the submit, whatever the program does with the result's own.
        call = task_at(task.module_path), result.args, result.kwargs, tuple(request)
        if self._outbox:
            del options["full"]
            outbox.options(**options).add_row(call[0], call[1:], {}, key)
        elif self._on_commit:
            options |= {"unique_key": key, "unique_for": FOUND_S, "on_conflict": RETURN}
            submit = submit_later(self.client.options(**options), *call)

            def enqueue() -> None:
                submit()
                task_enqueued.send(type(self), task_result=result)

            transaction.on_commit(enqueue)
            return result
        else:
            future = self.client.options(**options).submit(call[0], *call[1:])
            change(result, id=future.task_id)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """The result of a task by its id, from any process, until its TTL ends; raises TaskResultDoesNotExist."""
        # A row of the outbox that the first look has not found may be with the master now.
        for _ in range(2 if self._outbox else 1):
            try:
                shown = self._facts_of(result_id)
            except RemoteRefusal:  # the master does not know the task
                row = outbox.find(result_id.partition(ID_SEPARATOR)[0]) if self._outbox else None
                if row is not None:
                    return waiting_result(row.name.removeprefix(name_of_path("")), result_id, bytes(row.body))
                continue
            except ValueError:  # it is no id of a task
                break
            path = shown["name"].removeprefix(name_of_path(""))
            if path == shown["name"]:
                break
            return result_of(path, {**shown, "id": result_id}, self.alias)
        raise TaskResultDoesNotExist(result_id)

    def _facts_of(self, result_id: str) -> dict[str, Any]:
        """What the master knows about the task; raises RemoteRefusal or ValueError if it does not know it."""
        key, separator, queue = result_id.partition(ID_SEPARATOR)
        if separator and key and queue:
            return facts_of_unique(self.client, queue, key)
        task_key_of(result_id)
        return facts_of(self.client, result_id)

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Check the options and the settings, without a connection to the master."""
        yield from super().check(**kwargs)
        setting = self._setting
        if self._no_dict is not None:
            yield checks.Error(self._no_dict, hint="Remove it, or write its options as a dict.", id="distq.E009")
        if unknown := sorted(map(str, self.options.keys() - set(OPTIONS))):
            message = f"{setting} has {', '.join(unknown)}; it takes {', '.join(OPTIONS)}."
            yield checks.Error(message, hint="Remove it.", id="distq.E001")
        if decided := sorted(self._submit.keys() & set(OWN)):
            yield checks.Error(
                f"{setting}['SUBMIT'] has {', '.join(decided)}, which each task decides.",
                hint="Use task.using(run_after=..., priority=..., queue_name=...).",
                id="distq.E002",
            )
        try:
            checked_to_submit({**DEFAULTS, **self._given}, self._excluded())
        except (TypeError, ValueError) as error:
            yield checks.Error(f"{setting}['SUBMIT']: {str(error).rstrip('.')}.", id="distq.E003")
        yield from self._check_flags(setting)
        yield from self._check_client()

    def _excluded(self) -> tuple[str, ...]:
        """The options of a submit that SUBMIT cannot have."""
        if self._outbox:
            return (*OWN, *EXCLUDED_OPTIONS)
        return (*OWN, *UNIQUE_OPTIONS) if self._on_commit else OWN

    def _check_client(self) -> Iterable[checks.CheckMessage]:
        try:
            self.client  # noqa: B018 - it reads the settings
        except TypeError as error:
            yield checks.Error(f"{self._setting}: {error}.", id="distq.E004")
        except SettingsError as error:
            message = f"{self._setting}: {error}"
            hint = "Set DISTQ_ADDRESS and DISTQ_AUTHKEY_FILE, or ADDRESS and AUTHKEY in the backend's OPTIONS."
            if self._outbox and not self.options.keys() & {"ADDRESS", "AUTHKEY"}:
                message += " With OUTBOX only the relay and get_result connect to the master."
                hint += " Without get_result, add 'distq.W001' to SILENCED_SYSTEM_CHECKS."
                yield checks.Warning(message, hint=hint, id="distq.W001")
            else:
                yield checks.Error(message, hint=hint, id="distq.E004")

    def _check_flags(self, setting: str) -> Iterable[checks.CheckMessage]:
        for flag in FLAGS:
            if not isinstance(self.options.get(flag, False), bool):
                message = f"{setting}[{flag!r}] is True or False, not {self.options[flag]!r}."
                yield checks.Error(message, id="distq.E005")
        if self._on_commit and self._outbox:
            yield checks.Error(
                f"{setting} has ENQUEUE_ON_COMMIT and OUTBOX.",
                hint="Remove ENQUEUE_ON_COMMIT: a row of the outbox commits with the transaction.",
                id="distq.E006",
            )
        if self._outbox and not apps.is_installed(outbox.__name__):
            yield checks.Error(
                f"{setting} has OUTBOX, and the app of the outbox is not installed.",
                hint=f"Add {outbox.__name__!r} to INSTALLED_APPS, and run manage.py migrate.",
                id="distq.E007",
            )
        unique = sorted(self._submit.keys() & set(UNIQUE_OPTIONS))
        if unique and (self._on_commit or self._outbox):
            yield checks.Error(
                f"{setting}['SUBMIT'] has {', '.join(unique)}, and with ENQUEUE_ON_COMMIT or OUTBOX each task has a "
                "unique key of its own.",
                hint="Remove it.",
                id="distq.E008",
            )
        if self._outbox and self._given.get("full") is not None:
            yield checks.Error(
                f"{setting}['SUBMIT'] has full, and a row of the outbox waits in its table for room in the queue.",
                hint="Remove it.",
                id="distq.E010",
            )


def name_of(task: Task) -> str:
    """The name of a task in distq."""
    return name_of_path(task.module_path)


def name_of_path(path: str) -> str:
    """The name in distq of the task at an import path."""
    return f"distq.contrib.django.run:{path}"


def priority_of(priority: int) -> int:
    """The priority of distq, 0 to 9, for one of Django, -100 to 100; 0 is the default of both."""
    if priority >= 0:
        return PRIORITY_DEFAULT + math.ceil(priority * (PRIORITY_MAX - PRIORITY_DEFAULT) / DJANGO_PRIORITY_MAX)
    return PRIORITY_DEFAULT - math.ceil(-priority * PRIORITY_DEFAULT / DJANGO_PRIORITY_MAX)


def _aware(at: datetime) -> datetime:
    return at if timezone.is_aware(at) else timezone.make_aware(at)
