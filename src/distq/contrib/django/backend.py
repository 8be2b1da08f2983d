"""`distq.contrib.django.TaskBackend`: enqueues Django's tasks in a distq master, and reads their results there."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.core import checks
from django.utils import timezone

from distq.client.client import Client, facts_of
from distq.contrib.django.interface import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from distq.contrib.django.results import EnqueuedTask, change, result_of
from distq.core.head import TASK_NAME_BYTES_MAX
from distq.core.option_values import PRIORITY_DEFAULT
from distq.core.task_ids import task_key_of
from distq.settings import SettingsError
from distq.tasks.options import checked_to_send
from distq.wire.errors import RemoteRefusal

OPTIONS: Final = ("ADDRESS", "AUTHKEY", "SUBMIT")
DEFAULTS: Final = {"retries": 0, "full": "raise"}
"""Options of every submit: Django knows no retries, and `enqueue` raises QueueFull."""
OWN: Final = ("delay", "eta", "priority", "queue")
"""Options that the task itself decides."""
DJANGO_PRIORITY_MAX: Final = 100
PRIORITY_MAX: Final = 9


class TaskBackend(BaseTaskBackend):  # type: ignore[misc] # Django has no types
    """A backend of Django's tasks, for the setting TASKS.

        TASKS = {
            "default": {
                "BACKEND": "distq.contrib.django.TaskBackend",
                "QUEUES": ["default", "mail"],
                "OPTIONS": {"ADDRESS": "queue:9000", "SUBMIT": {"retries": 3, "time_limit": "10m"}},
            },
        }

    `ADDRESS` and `AUTHKEY` are those of `distq.Client`, with the same defaults; `SUBMIT` has options as
    `client.options` takes them.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._options: Mapping[str, Any] = self.options
        self._submit = {**DEFAULTS, **self._options.get("SUBMIT", {})}

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
        """Have the master accept the task; inside a transaction too, which the task does not wait for.

        Raises:
            InvalidTask: the backend cannot enqueue it.
            QueueFull, RefusedSubmit: the master refuses it.
            PayloadTooLarge: the arguments are larger than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master answered within DISTQ_CONNECT_WAIT_S.
        """
        from distq.contrib.django.run import task_at  # noqa: PLC0415 - it imports what needs the apps of Django

        self.validate_task(task)
        enqueued_at = timezone.now()
        result = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=enqueued_at,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        retries = self._submit["retries"]
        request = EnqueuedTask(self.alias, task.priority, task.queue_name, task.run_after, enqueued_at, retries)
        options = {**self._submit, "queue": task.queue_name, "priority": priority_of(task.priority)}
        if task.run_after is not None:
            options["eta"] = _aware(task.run_after)
        submitter = self.client.options(**options)
        # Copies: the worker's are those of the submit, whatever the program does with the result's own.
        future = submitter.submit(task_at(task.module_path), result.args, result.kwargs, tuple(request))
        change(result, id=future.task_id)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """The result of a task by its id, from any process, until its TTL ends; raises TaskResultDoesNotExist."""
        try:
            task_key_of(result_id)
            shown = facts_of(self.client, result_id)
        except (ValueError, RemoteRefusal) as error:  # it is no task id, or the master does not know the task
            raise TaskResultDoesNotExist(result_id) from error
        path = shown["name"].removeprefix(name_of_path(""))
        if path == shown["name"]:
            raise TaskResultDoesNotExist(result_id)
        return result_of(path, shown, self.alias)

    @property
    def client(self) -> Client:
        """The client of this process for the backend's address and key: Django has a backend for each thread."""
        key = self._options.get("ADDRESS"), self._options.get("AUTHKEY")
        with _lock:
            found = _clients.get(key)
            if found is None:
                found = _clients[key] = Client(*key, wait_at_exit=False)
        return found

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Check the options and the settings, without a connection to the master."""
        yield from super().check(**kwargs)
        setting = f"TASKS[{self.alias!r}]['OPTIONS']"
        if unknown := sorted(self._options.keys() - set(OPTIONS)):
            message = f"{setting} has {', '.join(unknown)}; it takes {', '.join(OPTIONS)}."
            yield checks.Error(message, hint="Remove it.", id="distq.E001")
        if decided := sorted(self._submit.keys() & set(OWN)):
            yield checks.Error(
                f"{setting}['SUBMIT'] has {', '.join(decided)}, which each task decides.",
                hint="Use task.using(run_after=..., priority=..., queue_name=...).",
                id="distq.E002",
            )
        try:
            checked_to_send(self._submit)
        except (TypeError, ValueError) as error:
            yield checks.Error(f"{setting}['SUBMIT']: {error}.", id="distq.E003")
        try:
            self.client  # noqa: B018 - it reads the settings
        except SettingsError as error:
            hint = "Set DISTQ_ADDRESS and DISTQ_AUTHKEY_FILE, or ADDRESS and AUTHKEY in the backend's OPTIONS."
            yield checks.Error(f"{setting}: {error}", hint=hint, id="distq.E004")


_lock = threading.Lock()
_clients: dict[tuple[Any, Any], Client] = {}


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
