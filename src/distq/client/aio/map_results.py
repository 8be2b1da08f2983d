"""The results of `AsyncClient.map` in the order of its calls, and of `as_completed` in the order of their ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.aio.future import AsyncFuture
from distq.core.ranges import shown

if TYPE_CHECKING:
    from distq.client.aio.session import AsyncSession

R = TypeVar("R")


async def rows_of(iterables: Sequence[Iterable[Any] | AsyncIterable[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    """The rows of arguments, as `zip` makes them; some of the iterables may be asynchronous."""
    if not any(isinstance(one, AsyncIterable) for one in iterables):
        for row in zip(*iterables, strict=False):
            yield row
        return
    sources = [aiter(one) if isinstance(one, AsyncIterable) else iter(one) for one in iterables]
    while True:
        row = []
        for source in sources:
            try:
                row.append(await anext(source) if isinstance(source, AsyncIterator) else next(source))
            except (StopIteration, StopAsyncIteration):
                return
        yield tuple(row)


async def in_order(
    submits: AsyncIterator[AsyncFuture[R]], concurrency: int, limit_s: float | None, session: AsyncSession
) -> AsyncGenerator[R, None]:
    """Take futures, at most `concurrency` whose results were not yielded, and yield the results in their order.

    It cancels the tasks of the futures that are left when it ends early. Raises TimeoutError `limit_s` seconds (None:
    never) after the first result was asked for.
    """
    deadline = None if limit_s is None else asyncio.get_running_loop().time() + limit_s
    futures: deque[AsyncFuture[R]] = deque()
    is_over = False
    try:
        while True:
            while not is_over and len(futures) < concurrency:
                try:
                    futures.append(await anext(submits))
                except StopAsyncIteration:
                    is_over = True
            if not futures:
                return
            async with asyncio.timeout_at(deadline):
                result = [await futures[0]]
            futures.popleft()
            yield result.pop()  # no name holds it meanwhile: the program can free it
    finally:
        left = [*futures]
        futures.clear()  # the traceback of an exception has this frame, which must not keep the future
        if left:
            await session.cancel_left(left)
        del left


async def one_by_one(chunks: AsyncGenerator[list[R], None]) -> AsyncGenerator[R, None]:
    """The results of chunks of calls; each is released when it is yielded."""
    try:
        async for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield chunk.pop()
    finally:
        await chunks.aclose()


def futures_of(given: Iterable[Any]) -> Sequence[AsyncFuture[Any]]:
    """The futures that a program passes to `as_completed`, each once; raises TypeError if one is no AsyncFuture."""
    found = list(given)
    for one in found:
        if not isinstance(one, AsyncFuture):
            raise TypeError(
                "as_completed takes futures of an AsyncClient, as `await client.submit(...)` returns them, "
                f"not {shown(one)}"
            )
    return list(dict.fromkeys(found))


async def as_they_end(futures: Sequence[AsyncFuture[R]], limit_s: float | None) -> AsyncGenerator[AsyncFuture[R], None]:
    """Yield different futures in the order of their ends; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    deadline = None if limit_s is None else loop.time() + limit_s
    ended: asyncio.Queue[AsyncFuture[R]] = asyncio.Queue()
    waiters: dict[AsyncFuture[R], asyncio.Future[None]] = {}
    for future in futures:
        if future.has_ended:
            ended.put_nowait(future)
        else:
            future.check_loop()
            waiters[future] = future.waiter()
            waiters[future].add_done_callback(lambda _, future=future: ended.put_nowait(future))  # type: ignore[misc]
    left = len(waiters) + ended.qsize()
    try:
        for _ in range(left):
            async with asyncio.timeout_at(deadline):
                future = await ended.get()
            waiters.pop(future, None)
            yield future
    finally:
        for future, waiter in waiters.items():
            future.forget(waiter)
