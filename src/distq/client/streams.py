"""The consumer of a task's stream: it requests the parts one after the other, on a connection for this stream alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from distq.client.outcome import OutcomeReader, unpacked
from distq.client.steps import MasterCall, Pause, StepsWithPauses, run
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


class Awaited(Protocol):
    """What the steps of a stream need of a future."""

    task_key: int | None
    reads: OutcomeReader | None

    @property
    def task_id(self) -> str | None:
        """The id of its task."""
        ...


def parts_of(control: ControlConnection, future: Readable, timeout_s: float | None) -> Iterator[Any]:
    """Yield the parts as they arrive, then raise the future's exception if it has one; closes `control` at the end."""

    def ask(request: MasterCall | Pause) -> Any:
        if isinstance(request, Pause):
            return time.sleep(request.pause_s)
        return control.ask(request.method, *request.args, wait_s=request.wait_s)

    number = 0
    try:
        while future.task_key is None and not future.has_ended:
            time.sleep(PAUSE_S / 10)  # until the client has received its acceptance
        over = future.task_key is None
        while not over:
            parts, over = run(next_parts(future, number, timeout_s), ask)
            for value in values_of(parts, number, future):
                yield value
                number += 1
        future.result()
    finally:
        control.close()
        del future  # the traceback of its exception has this frame, which must not keep the future


def values_of(parts: list[bytes | None], first: int, future: Awaited) -> Iterator[Any]:
    """The values of parts, of which the first one has that number; raises TaskPartsGone, ResultUnreadable."""
    for number, part in enumerate(parts, first):
        if part is None:
            raise TaskPartsGone(f"part {number} of task {future.task_id} is not kept any more.")
        value, error = unpacked(part, future.task_key, future.reads, None if future.reads is None else number)
        if error is not None:
            raise error
        yield value


def next_parts(future: Awaited, number: int, timeout_s: float | None) -> StepsWithPauses[tuple[list[Any], bool]]:
    """The next parts, from that number on, at least one unless the stream is over; and whether the stream is over."""
    began = reached = _now()
    while True:
        left_s = WAIT_S if timeout_s is None else max(timeout_s - (_now() - began), 0.0)
        wait_s = min(left_s, WAIT_S)
        try:
            parts, over = yield MasterCall(STREAM, (future.task_key, number, wait_s), wait_s)
            reached = _now()
        except RemoteRefusal as error:
            raise TaskUnknown(str(error)) from None
        except DistqError:
            if _now() - reached > AWAY_S:
                raise
            yield Pause(PAUSE_S)
            continue
        if parts or over:
            return parts, over
        if timeout_s is not None and _now() - began >= timeout_s:
            raise TimeoutError(f"task {future.task_id} has yielded nothing for {timeout_s:g} s")
