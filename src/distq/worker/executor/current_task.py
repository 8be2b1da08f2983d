"""Builds what `distq.current()` returns in a task that an executor runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from distq.core.task import delivery_count
from distq.core.task_ids import id_text
from distq.tasks.current import Current

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.core.constraints import Headers
    from distq.protocol.exchange import LeasedEnvelope, LeasedTask
    from distq.tasks.codec import Codec
    from distq.worker.executor.shutdown import ShutdownFlag


def current_of(
    row: LeasedTask,
    envelope: LeasedEnvelope,
    left_s: float | None,
    cursor: bytes | None,
    headers: Headers,
    send: Callable[[int, bytes], None],
    shutdown: ShutdownFlag,
    codec: Codec,
    is_stopped: Callable[[], bool],
) -> Current:
    """The `Current` of that row's task, of whose time limit `left_s` seconds are left; `send` takes its notes.

    Raises PayloadRefused for a checkpoint that this worker does not read.
    """
    task_key, delivery, attempt, *_ = row
    queue, name, *_ = envelope
    return Current(
        id_text(task_key),
        name,
        queue,
        attempt,
        delivery_count(delivery),
        None if left_s is None else time.time() + left_s,  # noqa: TID251 - for people, who read clocks
        None if cursor is None else codec.load(cursor, "its cursor is"),
        dict(headers),
        send,
        lambda: shutdown.is_set,
        codec.dump,
        is_stopped,
    )
