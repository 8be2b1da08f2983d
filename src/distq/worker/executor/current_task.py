"""What `distq.current()` tells a task that runs in an executor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from distq.core.task import delivery_count, id_text
from distq.tasks.current import Current

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.core.task import Headers
    from distq.tasks.codec import Codec
    from distq.worker.executor.rows import Envelope, Leased
    from distq.worker.executor.shutdown import ShutdownFlag


def current_of(
    row: Leased,
    envelope: Envelope,
    left_s: float | None,
    cursor: bytes | None,
    headers: Headers,
    says: Callable[[int, bytes], None],
    quit_: ShutdownFlag,
    codec: Codec,
    is_stopped: Callable[[], bool],
) -> Current:
    """What is told to the task of that row, which has `left_s` of its time limit left; `says` takes what it says.

    Raises PayloadRefused for a cursor that this worker does not read.
    """
    task_id, delivery, attempt, *_ = row
    queue, name, *_ = envelope
    return Current(
        id_text(task_id),
        name,
        queue,
        attempt,
        delivery_count(delivery),
        None if left_s is None else time.time() + left_s,  # noqa: TID251 - for people, who read clocks
        None if cursor is None else codec.load(cursor, "its cursor is"),
        dict(headers),
        says,
        lambda: quit_.asked,
        codec.dump,
        is_stopped,
    )
