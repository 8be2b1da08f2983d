"""What workers run for Django: `manage.py distq_worker`, or `distq worker distq.contrib.django.run`.

The task at `shop.tasks.send` is named `distq.contrib.django.run:shop.tasks.send`, so that operators see its name. A
worker resolves that name as any import path; the attributes of this module lead to a `TaskAt` of the rest.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final

import django
from django.apps import apps
from django.db import close_old_connections, reset_queries
from django.utils import timezone

from distq.contrib.django.interface import (
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from distq.contrib.django.results import UNKNOWN_WORKER, EnqueuedTask, Record, change
from distq.tasks import access
from distq.tasks.control import Discard, Interrupted, Retry, Snooze
from distq.tasks.current import current
from distq.tasks.failure import TaskStopped, traceback_of
from distq.tasks.wrapping import wrappers

NAME_PREFIX: Final = f"{__name__}:"
_CONTROL: Final = (KeyboardInterrupt, Discard, Interrupted, Retry, Snooze, TaskStopped)
"""What a task raises to end or to repeat its run; it is no failure of the task."""


def with_fresh_connections(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; connections to databases that are unusable or too old are closed before and after it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        reset_queries()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return call


if access.access is not None:  # this process is an executor
    if not apps.ready:
        django.setup()
    wrappers.append(with_fresh_connections)


class TaskAt:
    """A task of Django by its import path, or the first part of such a path; a worker calls it."""

    __module__ = __name__

    def __init__(self, path: str) -> None:
        self.path = path
        self.__qualname__ = path

    def __getattr__(self, name: str) -> TaskAt:
        """The object for a longer path."""
        if name.startswith("__"):
            raise AttributeError(name)
        return task_at(f"{self.path}.{name}")

    def __call__(self, args: list[Any], kwargs: dict[str, Any], request: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run the task, and send the signals of Django."""
        return tuple(self._run(args, kwargs, EnqueuedTask(*request)))

    def _run(self, args: list[Any], kwargs: dict[str, Any], request: EnqueuedTask) -> Record:
        run, started_at = current(), timezone.now()
        task = request.task(self.path)
        result = TaskResult(
            task=task,
            id=request.result_id or run.id,
            status=TaskResultStatus.RUNNING,
            enqueued_at=request.enqueued_at,
            started_at=started_at,
            last_attempted_at=started_at,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=request.backend,
            errors=[],
            worker_ids=[UNKNOWN_WORKER] * (run.attempt - 1) + [f"{socket.gethostname()}-{os.getpid()}"],
        )
        sender = type(task.get_backend())
        task_started.send(sender=sender, task_result=result)
        try:
            context = (TaskContext(task_result=result),) if task.takes_context else ()
            value = normalize_json(task.call(*context, *args, **kwargs))
        except _CONTROL:
            raise
        except BaseException as error:
            if run.attempt > request.retries:
                _failed(result, error)
                task_finished.send(sender=sender, task_result=result)
            raise
        finished_at = timezone.now()
        change(result, finished_at=finished_at, status=TaskResultStatus.SUCCESSFUL, _return_value=value)
        task_finished.send(sender=sender, task_result=result)
        return Record(value, args, kwargs, request, started_at, finished_at, result.worker_ids)


def _failed(result: TaskResult, error: BaseException) -> None:
    kind = type(error)
    error_path = f"{kind.__module__}.{kind.__qualname__}"
    result.errors.append(TaskError(exception_class_path=error_path, traceback=traceback_of(error)))
    change(result, finished_at=timezone.now(), status=TaskResultStatus.FAILED)


_tasks: dict[str, TaskAt] = {}


def task_at(path: str) -> TaskAt:
    """The object of an import path; always the same one."""
    return _tasks.setdefault(path, TaskAt(path))


def __getattr__(name: str) -> TaskAt:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return task_at(name)
