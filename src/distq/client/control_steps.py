"""The steps of what a client asks a master besides submits and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from distq.client.refusals import ScheduleRefused
from distq.client.steps import MasterCall, Steps
from distq.core.errors import DistqError
from distq.core.task_ids import id_text
from distq.protocol.methods import ADMIN, CANCEL
from distq.tasks.current import Progress
from distq.wire.errors import RemoteRefusal

CANCELLED_PER_CALL: Final = 10_000
"""Maximum keys that the client sends in one `cancel`; the master refuses a call with more."""


def cancel(keys: Sequence[int], *, running: bool) -> Steps[bool]:
    """Have the master cancel tasks; returns whether it has cancelled all of them, False also if no master answers."""
    cancelled = 0
    try:
        for at in range(0, len(keys), CANCELLED_PER_CALL):
            reply = yield MasterCall(CANCEL, (list(keys[at : at + CANCELLED_PER_CALL]), running))
            cancelled += reply["done"]
    except DistqError:
        return False
    return cancelled == len(keys)


def progress(task_key: int) -> Steps[Progress | None]:
    """The progress that a task has reported; None if it has reported none, or the master does not know it any more."""
    try:
        shown = yield MasterCall(ADMIN, ("show", {"id": id_text(task_key)}))
    except RemoteRefusal:
        return None
    row = shown["progress"]
    return None if row is None else Progress(*row)


def deadlock(task: str, task_key: int) -> Steps[str]:
    """The reason why a task that waits for another task waits for ever; '' if it does not, or that is not known."""
    try:
        reply = yield MasterCall(ADMIN, ("wait", {"task": task, "other": id_text(task_key)}))
    except DistqError:  # no master answers, or it has an earlier version
        return ""
    return str(reply["why"])


def administer(action: str, arguments: Mapping[str, Any]) -> Steps[Any]:
    """The master's answer to an operator's request; raises the error with which the master refuses it."""
    try:
        return (yield MasterCall(ADMIN, (action, dict(arguments))))
    except RemoteRefusal as error:
        if action.startswith("schedule_"):
            raise ScheduleRefused(str(error)) from None
        raise
