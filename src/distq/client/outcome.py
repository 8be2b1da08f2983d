"""A task's outcome, from the master's words to what its future returns or raises."""

from __future__ import annotations

from typing import Any

from distq.core.task_ids import id_text
from distq.tasks.failure import ResultUnreadable, describe, error_of, is_interruption
from distq.tasks.payload import unpack_result

FailedOutcome = tuple[int, "bytes | None", "list[str] | None"]
"""State, outcome and causes of a task that did not succeed, as the master reports them."""


def unpacked(body: bytes | FailedOutcome, task_key: int | None) -> tuple[Any, BaseException | None]:
    """What the task of that key returned, and what is raised instead.

    What ends a program (SystemExit) is this outcome's error and no more when it comes out of a pickle. Ctrl-C and the
    exception of a signal handler are passed on, and the outcome can be asked for again.
    """
    try:
        if isinstance(body, bytes):
            return unpack_result(body), None
        return None, error_of(*body)
    except BaseException as error:  # whatever the result's class does when it is made
        if is_interruption(error):
            raise
        what = "result" if isinstance(body, bytes) else "exception"
        of = "" if task_key is None else f" of task {id_text(task_key)}"
        unreadable = ResultUnreadable(f"The {what}{of} cannot be read here: {describe(error)}.")
        unreadable.__cause__ = error
        return None, unreadable
