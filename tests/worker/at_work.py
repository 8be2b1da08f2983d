"""An executor that runs in a thread of the test: all of it but the process."""

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.net.fake_master import KEY
from tests.waiting import SOON_S
from tests.worker.executor.test_parts import executor_config

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
from distq.worker.shared.reports import Report, Reporter, ReportReader
from distq.worker.shared.slots_page import SlotsPage

ENVELOPES = [("work", "plain", "plain", None)]


class AtWork:
    """A running executor, its reports, and the means to end it."""

    def __init__(self, address: tuple[str, int], handler: Handler, **given: object) -> None:
        self.quit = ShutdownFlag()
        self.page = SlotsPage.create() if given.get("executor") == THREAD else BatchPage.create()
        self._report_read, self._report_write = os.pipe()
        self._lifeline_read, self._lifeline_write = os.pipe()
        config = executor_config(addresses=(address,), authkey=KEY, **given)
        functions = Functions(handler, config.accept, config.payload_bytes_max, print)
        reporter, lifeline, page, stock = Reporter(self._report_write), self._lifeline_read, self.page, None
        if isinstance(page, BatchPage):
            interrupts = Interrupts(page, MONOTONIC)
            broker: BatchLoop | ConcurrentLoop = BatchLoop(
                config, functions, interrupts, page, reporter, self.quit, lifeline, MONOTONIC
            )
            stock = StdlibServerLoop(handler, page, reporter, self.quit, MONOTONIC, verbose=config.verbose)
        else:
            broker = ConcurrentLoop(config, functions, page, reporter, self.quit, lifeline, MONOTONIC)
        self._runner = Runner(config, broker, stock, page, reporter, self.quit, lifeline)
        self._thread = threading.Thread(target=self._runner.run)
        self._thread.start()

    def ask(self) -> None:
        """Ask the executor to end, as SIGTERM does."""
        self.quit.set()

    def supervisor_ends(self) -> None:
        """Let the executor detect that its supervisor has ended."""
        os.close(self._lifeline_write)
        self._lifeline_write = -1

    def ended(self) -> bool:
        """Whether the executor ends soon."""
        self._thread.join(SOON_S)
        return not self._thread.is_alive()

    def reports(self) -> list[Report]:
        """The executor's reports so far; there must be one."""
        return ReportReader().feed(os.read(self._report_read, 65_536))

    def close(self) -> None:
        """Close all descriptors and the page."""
        for fd in (self._report_read, self._report_write, self._lifeline_read, self._lifeline_write):
            if fd >= 0:
                os.close(fd)
        self.page.close()
        self.quit.close()


@contextmanager
def at_work(address: tuple[str, int], handler: Handler, **given: object) -> Iterator[AtWork]:
    """An executor for the duration of a test, which ends it afterwards if it still runs."""
    executor = AtWork(address, handler, **given)
    try:
        yield executor
        executor.ask()
        assert executor.ended()
    finally:
        executor.ask()
        executor.ended()
        executor.close()


def leased(*items: object, first: int = 1) -> tuple[object, object]:
    """The answer to an exchange that leases these items, each for the first time."""
    return ENVELOPES, [(first + n, 1, 1, 0, pickle.dumps(item)) for n, item in enumerate(items)]


NOTHING: tuple[object, object] = ([], [])
