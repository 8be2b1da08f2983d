"""The values that tasks yield, for coroutines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from distq.client.streams import next_parts, values_of

if TYPE_CHECKING:
    from distq.client.aio.control import AsyncControl
    from distq.client.aio.future import AsyncFuture


async def parts_of(
    control: AsyncControl, future: AsyncFuture[Any], timeout_s: float | None
) -> AsyncGenerator[Any, None]:
    """The values of a task's stream, as they arrive, on a connection of their own."""
    own = control.open_another()
    try:
        await future.wait_for_acceptance()
        number, is_over = 0, future.task_key is None
        while not is_over:
            parts, is_over = await own.run(next_parts(future, number, timeout_s))
            for value in values_of(parts, number, future):
                yield value
                number += 1
    finally:
        own.close()
