"""Conversion of return values to results: the executor streams a generator and awaits an awaitable.

The executor examines the value and not the function, so that a plain decorator around the function changes nothing.
"""

import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from distq.core.outcome import Outcome
from distq.core.stream_parts import PART_NUMBER
from distq.tasks.control import Interrupted
from distq.tasks.current import current, report_of
from distq.tasks.failure import ResultNotSent, TaskStopped, cause_of
from distq.tasks.payload import Finish, Pack

Await = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end, on an event loop that the executor chooses, and returns the coroutine's value."""
Report = Callable[[int, bytes], None]


def in_a_loop_of_its_own(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await on a new event loop; an executor that runs one task at a time uses this."""
    import asyncio  # noqa: PLC0415 - executors whose tasks do not await start faster

    return asyncio.run(coroutine)


def finishing(part_bytes_max: int, await_: Await) -> Finish:
    """Return how an executor converts return values to results in a thread that it may block."""

    def finish(returned: Any, pack: Pack) -> Any:
        kind = type(returned)
        if issubclass(kind, Generator) and not hasattr(kind, "__await__"):
            return _streamed(returned, _parts(pack, part_bytes_max))
        if hasattr(kind, "__await__") or issubclass(kind, AsyncGenerator):
            return finish(await_(_finished(returned, pack, part_bytes_max)), pack)
        return returned

    return finish


def finishing_on_loop(part_bytes_max: int) -> Callable[[Any, Pack], Coroutine[Any, Any, Any]]:
    """Return how an executor converts return values to results on an event loop that other tasks share."""

    async def finish(returned: Any, pack: Pack) -> Any:
        return await _finished(returned, pack, part_bytes_max, shared=True)

    return finish


async def _finished(returned: Any, pack: Pack, part_bytes_max: int, *, shared: bool = False) -> Any:
    while True:
        kind = type(returned)
        if hasattr(kind, "__await__"):
            returned = await returned
        elif issubclass(kind, AsyncGenerator):
            return await _streamed_async(returned, _parts(pack, part_bytes_max), shared=shared)
        else:
            return returned


def _parts(pack: Pack, part_bytes_max: int) -> Callable[[int, Any], bytes]:
    """Return how to encode a part of a stream; it raises ResultNotSent if a part is too large or cannot be encoded."""

    def packed(number: int, value: Any) -> bytes:
        try:
            part = pack(value)
        except (Interrupted, TaskStopped):
            raise
        except BaseException as error:  # the part's class may raise anything while it is pickled
            raise ResultNotSent(f"cannot be sent: part {number}: {cause_of(error)}") from error
        if len(part) + PART_NUMBER.size > part_bytes_max:
            raise ResultNotSent(
                f"cannot be sent: part {number} has {len(part):,} bytes, and {part_bytes_max:,} are allowed: "
                "yield smaller parts, or raise DISTQ_PAYLOAD_BYTES_MAX"
            )
        return PART_NUMBER.pack(number) + part

    return packed


def _streamed(running: Generator[Any, Any, Any], packed: Callable[[int, Any], bytes]) -> Any:
    """Send each part of a generator to the master when the generator yields it; return the generator's value."""
    report = report_of(current())
    try:
        for number in itertools.count():
            try:
                value = next(running)
            except StopIteration as stop:
                return stop.value
            report(Outcome.PART, packed(number, value))
    finally:
        running.close()


async def _streamed_async(
    running: AsyncGenerator[Any, Any], packed: Callable[[int, Any], bytes], *, shared: bool
) -> None:
    """Send each part of an async generator to the master; an async generator has no return value."""
    import asyncio  # noqa: PLC0415 - the loop has imported it already

    report, number = report_of(current()), 0
    try:
        async for value in running:
            part = packed(number, value)
            if shared:  # sending may wait for room, and other tasks run on this loop
                await asyncio.to_thread(report, Outcome.PART, part)
            else:
                report(Outcome.PART, part)
            number += 1
    finally:
        await running.aclose()
