"""Task results of Django, made of what the master keeps of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.utils.module_loading import import_string

from distq.contrib.django.interface import Task, TaskError, TaskResult, TaskResultStatus
from distq.core.states import CANCELLED, DEAD, EXPIRED, LEASED, STATE_NAMES, SUCCEEDED
from distq.tasks.failure import error_of, unpack_failure
from distq.tasks.payload import unpack_result

UNKNOWN_WORKER: Final = ""
"""Stands in `worker_ids` for an attempt whose worker the master no longer knows."""


class EnqueuedTask(NamedTuple):
    """What travels with the arguments of a task, so that every process can make the same `Task` again."""

    backend: str
    priority: int | None
    queue_name: str
    run_after: datetime | None
    enqueued_at: datetime
    retries: int
    result_id: str = ""
    """The id of the result; '' for the id of the task, which the master gives."""

    def task(self, path: str) -> Task:
        """The task at an import path, with these options; raises ImportError, TypeError or InvalidTask."""
        found = import_string(path)
        if not isinstance(found, Task):
            raise TypeError(f"{path} is not a task of Django but {type(found).__name__}")
        changes = {"backend": self.backend, "priority": self.priority, "queue_name": self.queue_name}
        return found.using(**changes, run_after=self.run_after)


class Record(NamedTuple):
    """What a task that succeeded returns to the master, which no longer has its arguments then."""

    value: Any
    args: list[Any]
    kwargs: dict[str, Any]
    request: EnqueuedTask
    started_at: datetime
    finished_at: datetime
    worker_ids: list[str]


def ready_result(
    task: Task, result_id: str, args: list[Any], kwargs: dict[str, Any], request: EnqueuedTask
) -> TaskResult:
    """The result of a task that no worker has begun."""
    return TaskResult(
        task=task,
        id=result_id,
        status=TaskResultStatus.READY,
        enqueued_at=request.enqueued_at,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=request.backend,
        errors=[],
        worker_ids=[],
    )


def waiting_result(path: str, result_id: str, body: bytes) -> TaskResult:
    """The result of a task that waits in the outbox with these arguments."""
    (args, kwargs, row), _ = unpack_result(body)
    request = EnqueuedTask(*row)
    return ready_result(request.task(path), result_id, args, kwargs, request)


def result_of(path: str, shown: Mapping[str, Any], alias: str) -> TaskResult:
    """The task result, from the master's answer about a task and its bodies.

    The master keeps no arguments of a task that was cancelled or has expired: its result has none, and the priority
    that its decorator gave.
    """
    state = STATE_NAMES.index(shown["state"])
    if state == SUCCEEDED:
        return _succeeded(path, shown["id"], Record(*unpack_result(shown["outcome"])))
    if shown["payload"] is None:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        request = EnqueuedTask(alias, None, shown["queue"], None, datetime.fromtimestamp(shown["submitted_at"], UTC), 0)
    else:
        (args, kwargs, row), _ = unpack_result(shown["payload"])
        request = EnqueuedTask(*row)
    caused_at = [at for at in shown["caused_at"] if at is not None]
    started_at = shown["leased_at"] or (caused_at[-1] if caused_at else None)
    status = TaskResultStatus.READY
    if state == LEASED:
        status = TaskResultStatus.RUNNING
    elif state in (DEAD, CANCELLED, EXPIRED):
        status = TaskResultStatus.FAILED
    failed = status == TaskResultStatus.FAILED
    return TaskResult(
        task=request.task(path),
        id=shown["id"],
        status=status,
        enqueued_at=request.enqueued_at,
        started_at=instant(started_at),
        last_attempted_at=instant(started_at),
        finished_at=instant(shown["since"]) if failed else None,
        args=args,
        kwargs=kwargs,
        backend=request.backend,
        errors=[_error(state, shown["outcome"], shown["causes"])] if failed else [],
        worker_ids=_workers(shown),
    )


def _succeeded(path: str, task_id: str, record: Record) -> TaskResult:
    request = EnqueuedTask(*record.request)
    result = TaskResult(
        task=request.task(path),
        id=task_id,
        status=TaskResultStatus.SUCCESSFUL,
        enqueued_at=request.enqueued_at,
        started_at=record.started_at,
        last_attempted_at=record.started_at,
        finished_at=record.finished_at,
        args=record.args,
        kwargs=record.kwargs,
        backend=request.backend,
        errors=[],
        worker_ids=record.worker_ids,
    )
    change(result, _return_value=record.value)
    return result


def _error(state: int, outcome: bytes | None, causes: Sequence[str]) -> TaskError:
    """The error of a task that failed, that was cancelled, or that expired."""
    if state == DEAD and outcome:
        failure = unpack_failure(outcome)
        if ":" in failure.kind:
            return TaskError(
                exception_class_path=failure.kind.replace(":", "."), traceback=failure.remote_traceback or failure.text
            )
    error = error_of(state, outcome, list(causes))
    return TaskError(exception_class_path=f"distq.{type(error).__qualname__}", traceback=str(error))


def _workers(shown: Mapping[str, Any]) -> list[str]:
    """An id for each attempt; the master knows only the worker of the attempt that runs."""
    attempts = shown["failures"] + shown["lost"] + (shown["state"] == STATE_NAMES[LEASED])
    workers = [UNKNOWN_WORKER] * attempts
    if shown["holder"] and workers:
        workers[-1] = shown["holder"]
    return workers


def instant(at: float | None) -> datetime | None:
    """The aware datetime of an instant in seconds since 1970."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def change(result: TaskResult, **values: Any) -> None:
    """Change fields of a task result, which is frozen for programs."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
