"""`distq.AsyncClient`: submits functions to a master from coroutines, and gives awaitable futures of their tasks."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from distq.client.aio.future import AsyncFuture
from distq.client.aio.map_results import as_they_end, futures_of
from distq.client.aio.progress import wait_with_bar
from distq.client.aio.session import AsyncSession
from distq.client.aio.submitter import AsyncSubmitter
from distq.client.by_value import ByValueSender
from distq.client.client import sessions_are_replaced, settings_of
from distq.client.encoder import bare
from distq.client.forks import at_fork, notice
from distq.client.session_stage import described, described_html
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.option_values import ACCEPT_JSON
from distq.core.task_ids import task_key_of
from distq.settings import Settings
from distq.tasks.options import SubmitKeywords, checked_to_send

R = TypeVar("R")


class AsyncClient(AsyncSubmitter):
    """Submits functions to a distq master from coroutines of one event loop, without threads.

        async with distq.AsyncClient() as client:
            future = await client.submit(add, 1, b=2)
            print(await future)

    Any number of coroutines may use one client. It connects at the first call; the event loop of that call is the only
    one in which the client and its futures work. It keeps the promises of `distq.Client`: it connects again after a
    lost connection or a restart of the master, and no task is lost or accepted twice by that. After a fork, the client
    works in the child process too, in an event loop there and with a session of its own; a future from before the fork
    raises WrongLoop there.

    Args:
        address: `host:port`, or several separated by commas; the default is DISTQ_ADDRESS, in a task the address of the
            worker's master.
        authkey: the key; the default is DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE, in a task the key of the worker.
        settings: the settings; by default the client reads the environment and the file `.env`.
        by_value: as for `Client`.

    Raises:
        SettingsError: a setting is invalid, or no key is set.
        ExtraMissing: `by_value` is true, and cloudpickle is not installed.
        RuntimeError: a block of `distq.testing.eager` is open, in which no event loop runs tasks.
    """

    def __init__(
        self,
        address: str | None = None,
        authkey: str | bytes | None = None,
        *,
        settings: Settings | None = None,
        by_value: bool = False,
    ) -> None:
        given = settings_of(address, authkey, settings)
        if sessions_are_replaced():
            raise RuntimeError(
                "AsyncClient does not work in distq.testing.eager, which runs tasks in the thread that submits them. "
                "Use distq.testing.cluster."
            )
        super().__init__({})
        self._json_only = given.accept == ACCEPT_JSON
        self._by_value = ByValueSender(given.payload_bytes_max) if by_value else None
        self._settings = given
        self._own_session = AsyncSession(given)
        _clients.add(self)

    @property
    def _session(self) -> AsyncSession:
        notice()
        return self._own_session

    def __del__(self) -> None:
        """Warn about a client that was not shut down, and end it when its futures have their outcomes."""
        session: AsyncSession | None = getattr(self, "_own_session", None)
        if session is None or session.closed or session.owner.loop is None or session.owner.loop.is_closed():
            return
        warnings.warn(f"{self!r} was not shut down; use `async with`.", ResourceWarning, stacklevel=2, source=self)
        with suppress(RuntimeError):  # the loop was closed just now
            session.owner.loop.call_soon_threadsafe(session.release)

    def options(self, **options: Unpack[SubmitKeywords]) -> AsyncSubmitter:
        """The same client with other options for the tasks that are submitted through it; they win over a decorator's.

            await client.options(queue="mail", priority=9, delay=30).submit(send, "joe")

        As `Client.options`, with its errors.
        """
        checked_to_send(options)
        return AsyncWithOptions(self, options)

    async def future(self, task_id: str) -> AsyncFuture[Any]:
        """The future of a task by its id, whichever client submitted it.

        Raises:
            ValueError: the text is not a task id.
            CannotReach: no master answers within DISTQ_CONNECT_WAIT_S.
        """
        task_key = task_key_of(task_id)
        try:
            return await self._session.follow(task_key)
        except DistqError as error:
            raise bare(error) from error.__cause__

    async def result(self, task_id: str) -> Any:
        """The result of a task by its id, whichever client submitted it; waits for it.

        Raises what `future` and `await future` raise: TaskUnknown if the master does not have the task.
        """
        return await (await self.future(task_id))

    def as_completed(
        self, futures: Iterable[AsyncFuture[R]], timeout: Timeout = None
    ) -> AsyncGenerator[AsyncFuture[R], None]:
        """Yield futures in the order in which they get their outcomes, each once.

            async for future in client.as_completed(futures):
                print(future.task_id, future.result())

        Raises:
            TimeoutError: not all have an outcome before the timeout, which begins with the first future asked for.
            TypeError: one of them is no future of an AsyncClient.
        """
        return as_they_end(futures_of(futures), timeout_s(timeout))

    async def progress(
        self,
        futures: Iterable[AsyncFuture[R]],
        *,
        label: str = "",
        timeout: Timeout = None,  # noqa: ASYNC109 - as distq.progress
    ) -> list[AsyncFuture[R]]:
        """Wait until every future has its outcome, and draw a bar meanwhile; returns the futures as a list.

        As `distq.progress`. A thread draws the bar.

        Raises:
            TimeoutError: a future has no outcome before the timeout.
            TypeError: one of the futures is not that of an AsyncClient.
        """
        return await wait_with_bar(futures, label, timeout_s(timeout))

    async def flush(self, timeout: Timeout = None) -> bool:  # noqa: ASYNC109 - as Client.flush
        """Wait until the master has accepted every task that was submitted so far; returns whether it has.

        Returns False if the timeout ends first, or if the master refused a submit since the last flush and the program
        has not read the error from its future. The logger `distq` writes the reason of the last refusal.
        """
        return await self._session.flush(timeout_s(timeout))

    @property
    def refused(self) -> int:
        """How many submits the master refused, or the client could not send."""
        return self._session.refusals.count

    def __repr__(self) -> str:
        """Where the master is, and what this client is doing, as far as it knows."""
        return described(type(self).__name__, self._settings.address, self._session.stage, {})

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return described_html(type(self).__name__, self._settings.address, self._session.stage, {})

    async def __aenter__(self) -> Self:
        """Enter the block; the client connects at the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Shut down, as `shutdown()`; after an exception wait only until the master has accepted every submit."""
        if kind is None:
            await self.shutdown()
        else:
            await self._session.leave_block()
        return False

    def abandon(self) -> None:
        """Close immediately; accepted tasks run, and this client does not wait for their results.

        Raises:
            WrongLoop: the event loop of the client runs in another thread: `loop.call_soon_threadsafe(client.abandon)`.
        """
        self._session.owner.check_thread()
        self._session.close()

    async def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more submits; with `wait`, return when every future has its outcome.

        Without `wait`, results continue to arrive while the event loop runs. `cancel_futures` cancels the tasks that no
        executor has begun.
        """
        await self._session.shutdown(wait=wait, cancel=cancel_futures)


class AsyncWithOptions(AsyncSubmitter):
    """A client with other options for its submits; the client itself is shut down separately."""

    def __init__(self, client: AsyncClient, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._client = client  # the client lives as long as this object
        self._by_value, self._json_only = client._by_value, client._json_only  # noqa: SLF001 - the same client with other options

    @property
    def _session(self) -> AsyncSession:
        return self._client._session  # noqa: SLF001 - the same client with other options


_clients: weakref.WeakSet[AsyncClient] = weakref.WeakSet()
_of_parent: list[AsyncSession] = []
"""The sessions from before a fork: to close what they share with the parent process would disturb its event loop."""


def _begin_anew() -> None:
    """Begin new sessions after a fork: the master takes submits of two processes with one session for repetitions."""
    for client in list(_clients):
        _of_parent.append(client._own_session)  # noqa: SLF001 - this module's own
        client._own_session = AsyncSession(client._settings)  # noqa: SLF001 - as above


at_fork(_begin_anew)
