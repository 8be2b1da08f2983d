"""Runs a test cluster's master and worker on an event loop, in a thread of this process."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from distq.core.errors import DistqError
from distq.logs import send_to_logging
from distq.master.main import Master
from distq.storage.memory import EPOCH_MAX
from distq.testing.errors import ClusterEnded, ClusterNotStarted
from distq.testing.master_watch import CHECK_S, MasterWatch, MovableClock
from distq.testing.submitted import RecordingStore, Submissions
from distq.worker.main import compose

if TYPE_CHECKING:
    from distq.settings import Address, Settings

T = TypeVar("T")

LOGGER: Final = "distq.testing"
"""The logger of the standard library that gets the events of master and worker."""
START_S: Final = 60.0
"""Maximum seconds until all executors have imported their modules."""
EPOCHS: Final = itertools.cycle(range(1, EPOCH_MAX))
"""The epoch of each cluster's store: the ids of two clusters' tasks differ."""


class ClusterHost:
    """One master, and one worker with executors, in a thread of this process."""

    def __init__(self, master: Settings, worker: Settings, environ: Mapping[str, str]) -> None:
        self.submissions = Submissions()
        self.clock = MovableClock()
        self.address: Address
        """The address at which the master listens."""
        self.watch: MasterWatch
        self._master_settings = master
        self._worker_settings = worker
        self._environ = environ
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._is_stopped = False
        self._error: BaseException | None = None
        """Why the thread has ended, if the test did not ask it to."""
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="distq-testing", daemon=True)

    # -- called by the test's thread -----------------------------------------------------------------

    def start(self) -> None:
        """Return when every executor waits for tasks; raises ClusterNotStarted, and then nothing is left running."""
        self._thread.start()
        try:
            self._ready.result(START_S)
        except BaseException as error:  # also Ctrl-C
            self.stop()
            if isinstance(error, TimeoutError):
                raise ClusterNotStarted(f"The executors were not ready within {START_S:g} s.") from None
            if isinstance(error, DistqError):
                raise ClusterNotStarted(f"The cluster could not start: {error}") from error
            raise

    def stop(self) -> None:
        """End the executors and the master, and return when they have ended; a second call does nothing."""
        self._is_stopped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: the cluster could not start, or was stopped before
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is not None:
            self._thread.join()

    def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the cluster's event loop, and return its result; raises ClusterEnded."""
        if self._loop is None or not self._thread.is_alive():
            why = "" if self._error is None else f" Its worker has failed: {self._error}"
            raise ClusterEnded(f"This cluster has ended, or another process has started it.{why}") from self._error
        outcome = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return outcome.result()
        except BaseException:  # also Ctrl-C
            outcome.cancel()
            raise

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        send_to_logging(LOGGER)
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            self._error = error
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        store = RecordingStore(next(EPOCHS), self.submissions)
        master = Master(self._master_settings, self.clock, store)
        self._loop = asyncio.get_running_loop()
        if self._is_stopped:
            self._stopping.set()
        serving = asyncio.create_task(master.run())
        try:
            await asyncio.wait((serving, master.listening), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            self.address = master.listening.result()
            master.broker.busy_poll = None  # polling would keep the test's own thread from running
            await self._work(master)
        finally:
            master.stop()
            await asyncio.gather(serving, return_exceptions=True)

    async def _work(self, master: Master) -> None:
        settings = dataclasses.replace(self._worker_settings, address=(self.address,))
        _, supervisor, pool, session = compose(settings, self._environ)
        self.watch = MasterWatch(master, self.clock, pool, session)
        working = asyncio.create_task(supervisor.run(pool, session, listens=False))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not (working.done() or stopping.done() or self.watch.is_ready):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(CHECK_S)
            if self.watch.is_ready:
                self._ready.set_result(None)
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not working.done():
                supervisor.drain()
            await working
