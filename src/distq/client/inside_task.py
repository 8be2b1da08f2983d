"""Waiting for a task inside a task: where no slot can become free for it, the wait ends with an error.

A task that waits keeps its slot. If all slots on which the other one could run are kept so, none of them ever ends: the
master is asked now and then, and tells one of those that wait.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.tasks import access

if TYPE_CHECKING:
    from distq.client.reader import Readable, Reader

LOOK_S: Final = 2.0
"""How often the master is asked; most waits are over before it is asked at all."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class NoSlotLeft(DistqError):
    """A task waits for another one that can never begin: tasks that wait have taken all slots on which it could run."""

    code = "NO_SLOT_LEFT"
    hint = (
        "Let a callback do what comes after (client.chain, client.group), give the inner tasks a queue with workers of "
        "its own, or add slots."
    )


def wait_inside_task(future: Readable, reader: Reader, timeout_s: float | None) -> float | None:
    """Read until the future is done, as `Reader.lead`; in a task, wait for that, too.

    Raises:
        NoSlotLeft: a task would wait for ever.
    """
    if access.access is None:
        return reader.read_until_done(future, timeout_s)
    task = access.task_running()
    deadline = None if timeout_s is None else _now() + timeout_s
    while not future.has_ended:
        left_s = LOOK_S if deadline is None else min(LOOK_S, deadline - _now())
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
