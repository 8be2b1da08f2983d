"""Helpers that run an executor in a thread of the test, without its process."""

import functools
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.net.fake_master import KEY
from tests.waiting import SOON_S

from distq.core.option_values import THREAD
from distq.worker.executor.batch_loop import BatchLoop
from distq.worker.executor.concurrent_loop import ConcurrentLoop
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import Handler
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.runner import Runner
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.stdlib_server import StdlibServerLoop
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.reports import Report, Reporter, ReportReader
from distq.worker.shared.slots_page import SlotsPage

ENVELOPES = [("work", "plain", "plain", None)]


class AtWork:
    """A running executor, its reports, and the ways to end it."""

    def __init__(self, address: tuple[str, int], handler: Handler, **given: object) -> None:
        self.shutdown = ShutdownFlag()
        self.page = SlotsPage.create() if given.get("executor") == THREAD else BatchPage.create()
        self._report_read, self._report_write = os.pipe()
        self._lifeline_read, self._lifeline_write = os.pipe()
        config = executor_config(addresses=(address,), authkeys=(KEY,), **given)
        functions = Functions(handler, config.accept, config.payload_bytes_max, print)
        reporter, lifeline, page, stdlib_loop = Reporter(self._report_write), self._lifeline_read, self.page, None
        if isinstance(page, BatchPage):
            interrupts = Interrupts(page, MONOTONIC)
            loop: BatchLoop | ConcurrentLoop = BatchLoop(
                config, functions, interrupts, page, reporter, self.shutdown, lifeline, MONOTONIC
            )
            stdlib_loop = StdlibServerLoop(handler, page, reporter, self.shutdown, MONOTONIC, verbose=config.verbose)
        else:
            loop = ConcurrentLoop(config, functions, page, reporter, self.shutdown, lifeline, MONOTONIC)
        self._runner = Runner(config, loop, stdlib_loop, page, reporter, self.shutdown, lifeline)
        self._thread = threading.Thread(target=self._runner.run)
        self._thread.start()

    def request_end(self) -> None:
        """Request the executor's end, as SIGTERM does."""
        self.shutdown.set()

    def supervisor_ends(self) -> None:
        """Let the executor detect that its supervisor has ended."""
        os.close(self._lifeline_write)
        self._lifeline_write = -1

    def ended(self) -> bool:
        """Return whether the executor ends within the test's limit."""
        self._thread.join(SOON_S)
        return not self._thread.is_alive()

    def reports(self) -> list[Report]:
        """Return the executor's reports so far; there must be one."""
        return ReportReader().feed(os.read(self._report_read, 65_536))

    def close(self) -> None:
        """Close all descriptors and the page."""
        for fd in (self._report_read, self._report_write, self._lifeline_read, self._lifeline_write):
            if fd >= 0:
                os.close(fd)
        self.page.close()
        self.shutdown.close()


@contextmanager
def at_work(address: tuple[str, int], handler: Handler, **given: object) -> Iterator[AtWork]:
    """Yield an executor, and end it afterwards if it still runs."""
    executor = AtWork(address, handler, **given)
    try:
        yield executor
        executor.request_end()
        assert executor.ended()
    finally:
        executor.request_end()
        executor.ended()
        executor.close()


def leased(*items: object, first: int = 1) -> tuple[object, object]:
    """Return the reply to an exchange that leases these items, each for the first time."""
    return ENVELOPES, [(first + n, 1, 1, 0, pickle.dumps(item)) for n, item in enumerate(items)]


NOTHING: tuple[object, object] = ([], [])


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of a task as a library does: the result names the function and is no coroutine function."""

    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def executor_config(**fields: object) -> ExecutorConfig:
    """Return the configuration of a worker that does not exist."""
    given: dict[str, object] = {
        "addresses": (("127.0.0.1", 9),),
        "authkeys": (b"k" * 20,),
        "worker": "w",
        "session": "s",
        "number": 1,
        "handler": "module:function",
        "executor": "process",
        "executor_slots": 1,
        "modules": ("module",),
        "accept": "pickle",
        "max_tasks": None,
        "max_rss_bytes": None,
        "supervisor_pid": 1,
        "frame_bytes_max": 1 << 20,
        "payload_bytes_max": 1 << 16,
        "reconnect_max_s": 0.1,
        "verbose": False,
    }
    return ExecutorConfig(**{**given, **fields})  # type: ignore[arg-type] # the fields have the types of their names
