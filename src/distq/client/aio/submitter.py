"""`distq.AsyncSubmitter`: turns functions and arguments into tasks and submits them from coroutines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any, ParamSpec, TypeVar, overload

from distq.client.aio.future import AsyncFuture
from distq.client.aio.map_results import in_order, one_by_one, rows_of
from distq.client.aio.session import AsyncSession
from distq.client.chains import Parallel, Stage
from distq.client.encoder import Scheduled, TaskEncoder, bare, scheduled
from distq.client.map_results import at_least_one
from distq.client.progress.mapping import MapBar
from distq.client.progress.tally import Tally
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.tasks.call import Call, Unfinished
from distq.tasks.function import name_of

P = ParamSpec("P")
R = TypeVar("R")


class AsyncSubmitter(TaskEncoder):
    """Submits functions to a master, with options that win over a decorator's; `AsyncClient.options` returns one."""

    @property
    def _session(self) -> AsyncSession:
        """The client's session, which a fork replaces."""
        raise NotImplementedError

    @overload
    async def submit(self, fn: Callable[P, Unfinished[R]], /, *args: P.args, **kwargs: P.kwargs) -> AsyncFuture[R]: ...
    @overload
    async def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncFuture[R]: ...
    # An overload's R is not the one of the implementation.
    async def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncFuture[R]:  # type: ignore[misc]
        """Submit the call `fn(*args, **kwargs)` for a worker to run; returns its future without waiting for the task.

        As `Submitter.submit`, with its errors; it waits where that blocks. If the coroutine is cancelled meanwhile, the
        task is not submitted; with the option `full`, the client cancels a task that the master accepts after that.

        Raises:
            WrongLoop: the client was used in another event loop or process before.
        """
        try:
            options, body = self._encoded(fn, args, kwargs)
            return await self._session.send(options, body)
        except DistqError as error:
            raise bare(error) from error.__cause__

    async def submit_named(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, queue: str | None = None
    ) -> AsyncFuture[Any]:
        """Submit a task by its name, with arguments in JSON, as `Submitter.submit_named`; raises what it raises."""
        try:
            options, body = self._encoded_named(name, args, kwargs, queue)
            return await self._session.send(options, body)
        except DistqError as error:
            raise bare(error) from error.__cause__

    async def schedule(self, name: str, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Scheduled:
        """Make the master submit `fn(*args, **kwargs)` at each scheduled run, by the option `every` or `cron`.

        As `Submitter.schedule`; raises what it raises.
        """
        return await self._keep(self._definition(name, fn, args, kwargs))

    async def schedule_named(
        self, name: str, task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Scheduled:
        """As `schedule`, with the name of a task and arguments in JSON; this program does not import the task."""
        return await self._keep(self._definition_named(name, task, args, kwargs))

    async def _keep(self, definition: Mapping[str, Any]) -> Scheduled:
        try:
            return scheduled(await self._session.administer("schedule_put", definition))
        except DistqError as error:
            raise bare(error) from error.__cause__

    @overload
    async def chain(self, last: Call[R], /) -> AsyncFuture[R]: ...
    @overload
    async def chain(self, last: Parallel[R], /) -> AsyncFuture[list[R]]: ...
    @overload
    async def chain(self, _1: Stage, last: Call[R], /) -> AsyncFuture[R]: ...
    @overload
    async def chain(self, _1: Stage, last: Parallel[R], /) -> AsyncFuture[list[R]]: ...
    @overload
    async def chain(self, _1: Stage, _2: Stage, last: Call[R], /) -> AsyncFuture[R]: ...
    @overload
    async def chain(self, _1: Stage, _2: Stage, last: Parallel[R], /) -> AsyncFuture[list[R]]: ...
    @overload
    async def chain(self, _1: Stage, _2: Stage, _3: Stage, last: Call[R], /) -> AsyncFuture[R]: ...
    @overload
    async def chain(self, _1: Stage, _2: Stage, _3: Stage, last: Parallel[R], /) -> AsyncFuture[list[R]]: ...
    @overload
    async def chain(
        self, _1: Stage, _2: Stage, _3: Stage, _4: Stage, _5: Stage, /, *more: Stage
    ) -> AsyncFuture[Any]: ...
    async def chain(self, *stages: Call[Any] | Iterable[Call[Any]]) -> AsyncFuture[Any]:
        """Submit stages that run one after another, each with the result of the previous one as its first argument.

            future = await client.chain(distq.call(fetch, url), distq.call(parse), distq.call(store, table="pages"))

        As `Submitter.chain`; raises what it raises. If the coroutine is cancelled before the master has answered, the
        client cancels the tasks that the master accepts after that.
        """
        try:
            tasks = self._planned(stages)
            return await self._session.send_together(tasks)
        except DistqError as error:
            raise bare(error) from error.__cause__

    async def group(self, calls: Iterable[Call[Any]], then: Call[R]) -> AsyncFuture[R]:
        """Submit calls that run in parallel, and `then`, which gets the list of their results.

        The same as `chain(list(calls), then)`.
        """
        return await self.chain(list(calls), then)

    async def gather(self, *calls: Call[R]) -> AsyncFuture[list[R]]:
        """Submit calls that run in parallel; the future's result is the list of their results, in order.

        The same as `chain(list(calls))`.
        """
        return await self.chain(list(calls))

    @overload
    def map(
        self,
        fn: Callable[..., Unfinished[R]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        concurrency: int = 100,
        progress: bool | str = False,
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        concurrency: int = 100,
        progress: bool | str = False,
    ) -> AsyncGenerator[R, None]: ...
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        concurrency: int = 100,
        progress: bool | str = False,
    ) -> AsyncGenerator[R, None]:
        """Submit a call for each row of the iterables, and yield the results in order.

            async for size in client.map(download, urls, concurrency=100):
                print(size)

        At most `concurrency` tasks are submitted whose results were not yielded yet: the client takes further arguments
        from the iterables, which may be endless or asynchronous, as the program takes results. With a `chunksize` above
        1, `chunksize` calls are sent, run and retried as one task. With `progress`, a bar shows how many calls have
        ended, as that of `distq.progress`; a text is its label.

        When the iteration ends early (an exception, a cancelled coroutine, `aclose()`), the tasks that are left are
        cancelled unless they run. After `break`, Python ends the iterator only when it is collected:
        aclosing() of contextlib ends it with its block.

        Raises:
            TimeoutError: a result does not arrive before the timeout, which begins with the first result asked for.
            ValueError: `chunksize` or `concurrency` is less than 1.
            TypeError: one of them is not a whole number, or a chunk has keys.
        """
        chunksize = at_least_one("chunksize", chunksize)
        concurrency = at_least_one("concurrency", concurrency)
        limit_s = timeout_s(timeout)
        if chunksize > 1:
            self._encoded_chunks(fn, iter(()), chunksize)  # raises TypeError for a function with keys
        if not progress:
            return self._results(fn, rows_of(iterables), limit_s, chunksize, concurrency)
        shown = MapBar(name_of(fn), iterables, progress)
        return _beside(shown.bar, self._results(fn, rows_of(iterables), limit_s, chunksize, concurrency, shown.tally))

    def _results(
        self,
        fn: Callable[..., R],
        rows: AsyncIterator[tuple[Any, ...]],
        limit_s: float | None,
        chunksize: int,
        concurrency: int,
        tally: Tally | None = None,
    ) -> AsyncGenerator[Any, None]:
        if chunksize == 1:
            return in_order(self._submits(fn, rows, tally), concurrency, limit_s, self._session)
        chunks = self._chunk_submits(fn, rows, chunksize, tally)
        return one_by_one(in_order(chunks, concurrency, limit_s, self._session))

    async def _submits(
        self, fn: Callable[..., R], rows: AsyncIterator[tuple[Any, ...]], tally: Tally | None
    ) -> AsyncIterator[Any]:
        async for row in rows:
            submitting = self.submit(fn, *row)
            del row  # the program can free the arguments while the task runs
            yield _added(tally, await submitting, 1)
        if tally is not None:
            tally.complete()

    async def _chunk_submits(
        self, fn: Callable[..., R], rows: AsyncIterator[tuple[Any, ...]], chunksize: int, tally: Tally | None
    ) -> AsyncIterator[Any]:
        chunk: list[tuple[Any, ...]] = []
        async for row in rows:
            chunk.append(row)
            del row  # as in `_submits`
            if len(chunk) == chunksize:
                sending, chunk = self._send_chunk(fn, chunk), []
                yield _added(tally, await sending, chunksize)
        if chunk:
            size = len(chunk)
            sending = self._send_chunk(fn, chunk)
            del chunk
            yield _added(tally, await sending, size)
        if tally is not None:
            tally.complete()

    async def _send_chunk(self, fn: Callable[..., R], chunk: list[tuple[Any, ...]]) -> AsyncFuture[list[R]]:
        (encoded,) = self._encoded_chunks(fn, iter(chunk), len(chunk))
        return await self._session.send(*encoded)


def _added(tally: Tally | None, future: AsyncFuture[R], calls: int) -> AsyncFuture[R]:
    """The same future, counted by the tally of the bar, if there is one."""
    if tally is not None:
        tally.add(future, calls)
    return future


async def _beside(bar: AbstractContextManager[None], results: AsyncGenerator[R, None]) -> AsyncGenerator[R, None]:
    """Yield the results while the bar is open."""
    with bar:
        async with aclosing(results):
            with suppress(StopAsyncIteration):
                while True:
                    yield await anext(results)  # no name holds the result: the program can free it
