"""Waits for a task inside another task, and ends the wait with an error where no slot can become free.

A task that waits keeps its slot. If tasks that wait hold every slot on which the other task could run, none of them can
end. The client therefore asks the master from time to time, and the master names such a deadlock to one of the tasks.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.tasks import access

if TYPE_CHECKING:
    from distq.client.reader import Readable, Reader

DEADLOCK_CHECK_S: Final = 2.0
"""Seconds between two questions to the master; most waits end before the first."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class NoSlotLeft(DistqError):
    """A task waits for one that cannot begin: tasks that wait hold every slot on which it could run."""

    code = "NO_SLOT_LEFT"
    hint = (
        "Submit what follows as a dependent task (client.chain, client.group), give the inner tasks a queue with "
        "workers of its own, or add slots."
    )


def wait_inside_task(future: Readable, reader: Reader, timeout_s: float | None) -> float | None:
    """Read until the future is done, as `Reader.read_until_done`; in a task, also wait for it. Returns the time left.

    Raises:
        NoSlotLeft: the task would wait without end.
    """
    if access.access is None:
        return reader.read_until_done(future, timeout_s)
    task = access.task_running()
    deadline = None if timeout_s is None else _now() + timeout_s
    while not future.has_ended:
        left_s = DEADLOCK_CHECK_S if deadline is None else min(DEADLOCK_CHECK_S, deadline - _now())
        if left_s <= 0:
            break
        rest_s = reader.read_until_done(future, left_s)
        with suppress(TimeoutError):
            future.wait_until_ended(rest_s)
        if (
            task
            and not future.has_ended
            and future.task_key is not None
            and (why := reader.deadlock(task, future.task_key))
        ):
            raise NoSlotLeft(why)
    return None if deadline is None else max(deadline - _now(), 0.0)
