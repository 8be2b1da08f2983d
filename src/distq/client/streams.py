"""The consumer of a task's stream: it requests the parts one after the other, on a connection for this stream alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from distq.client.outcome import unpacked
from distq.core.errors import DistqError
from distq.protocol.methods import STREAM
from distq.tasks.failure import TaskPartsGone, TaskUnknown
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.control_connection import ControlConnection
    from distq.client.reader import Readable

WAIT_S: Final = 20.0
"""Maximum seconds that one call for parts waits at the master."""
AWAY_S: Final = 30.0
"""Maximum seconds without an answer from a master before the consumer gets the connection's error."""
PAUSE_S: Final = 0.2
"""Seconds between two calls for parts after a lost connection."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


def parts_of(control: ControlConnection, future: Readable, timeout_s: float | None) -> Iterator[Any]:
    """Yield the parts as they arrive, then raise the future's exception if it has one; closes `control` at the end."""
    number = 0
    try:
        while future.task_key is None and not future.has_ended:
            time.sleep(PAUSE_S / 10)  # until the client has received its acceptance
        over = future.task_key is None
        while not over:
            parts, over = _next_parts(control, future, number, timeout_s)
            for part in parts:
                if part is None:
                    raise TaskPartsGone(f"part {number} of task {future.task_id} is not kept any more.")
                yield _value_of(part, future)
                number += 1
        future.result()
    finally:
        control.close()


def _value_of(part: bytes, future: Readable) -> Any:
    value, error = unpacked(part, future.task_key)
    if error is not None:
        raise error
    return value


def _next_parts(
    control: ControlConnection, future: Readable, number: int, timeout_s: float | None
) -> tuple[list[bytes | None], bool]:
    """The next parts, at least one unless the stream is over; and whether the stream is over."""
    began = reached = _now()
    while True:
        left_s = WAIT_S if timeout_s is None else max(timeout_s - (_now() - began), 0.0)
        wait_s = min(left_s, WAIT_S)
        try:
            parts, over = control.ask(STREAM, future.task_key, number, wait_s, wait_s=wait_s)
            reached = _now()
        except RemoteRefusal as error:
            raise TaskUnknown(str(error)) from None
        except DistqError:
            if _now() - reached > AWAY_S:
                raise
            time.sleep(PAUSE_S)
            continue
        if parts or over:
            return parts, over
        if timeout_s is not None and _now() - began >= timeout_s:
            raise TimeoutError(f"task {future.task_id} has yielded nothing for {timeout_s:g} s")
