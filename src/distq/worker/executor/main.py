"""The executor: a process that asks for tasks, runs them, one at a time or several, and answers for them.

    python -m distq.worker.executor.main ORDERS_FD REPORT_FD PAGE_FD [OUTPUT_FD]

It is started by its supervisor alone. It imports the user's code, the standard library, and the few parts of
distq that it needs: its start is on the way of every task whose executor has died.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distq.core.task import PROCESS, id_text
from distq.tasks import access
from distq.tasks.access import MasterAccess
from distq.tasks.lifespan import tear_down_all
from distq.worker.executor.batch_loop import BatchLoop
from distq.worker.executor.capture import capture, write_through
from distq.worker.executor.functions import Functions, set_up
from distq.worker.executor.handler import HandlerUnusable, load_handler
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.modules import add_current_folder, check_not_shadowed, import_modules
from distq.worker.executor.parent_death import die_with_parent
from distq.worker.executor.process_state import ProcessState
from distq.worker.executor.runner import Runner
from distq.worker.executor.running_task import deliver_interrupts
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.stdlib_server import StdlibServerLoop
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import read_config
from distq.worker.shared.output_messages import Speaker
from distq.worker.shared.reports import Ready, Reporter, Trouble, Unable
from distq.worker.shared.slots_page import SlotsPage

if TYPE_CHECKING:
    from distq.worker.executor.concurrent_loop import ConcurrentLoop


def main(args: Sequence[str]) -> int:
    """Obey the orders on the first descriptor; returns the exit code."""
    orders_fd, report_fd, page_fd, *output_fds = map(int, args)
    for fd in (orders_fd, report_fd, page_fd, *output_fds):
        os.set_inheritable(fd, False)  # what a task starts must keep none of them open
    quit_, state = ShutdownFlag(), ProcessState()
    quit_.listen(state)
    try:
        orders = read_config(orders_fd)
    except EOFError:
        return os.EX_OK
    die_with_parent(orders.supervisor_pid)
    access.access = MasterAccess(
        orders.addresses, orders.authkey, orders.frame_bytes_max, orders.payload_bytes_max, orders.reconnect_max_s
    )
    reporter = Reporter(report_fd)
    page = BatchPage(page_fd) if orders.executor == PROCESS else SlotsPage(page_fd)
    access.task_running = task_of(page)
    if output_fds:
        capture(Speaker(output_fds[0]), access.task_running, orders.log_level)
    else:
        write_through()
    add_current_folder()
    try:
        import_modules(orders.modules)
        check_not_shadowed(orders.handler.partition(":")[0])
        handler = load_handler(orders.handler) if orders.handler else None
        set_up()
    except HandlerUnusable as error:
        reporter.send(Unable(f"{error} {error.hint}"))
        page.leaves()  # a thread that a module has started may keep it from ending
        return error.exit_code
    functions = Functions(handler, orders.accept, orders.payload_bytes_max, lambda why: reporter.send(Trouble(why)))
    stock = None
    if isinstance(page, BatchPage):
        interrupts = Interrupts(page, MONOTONIC)
        interrupts.listen(state)
        broker: BatchLoop | ConcurrentLoop = BatchLoop(
            orders, functions, interrupts, page, reporter, quit_, orders_fd, MONOTONIC
        )
        stock = StdlibServerLoop(handler, page, reporter, quit_, MONOTONIC, verbose=orders.verbose)
    else:
        from distq.worker.executor.concurrent_loop import ConcurrentLoop  # noqa: PLC0415 - with asyncio, which most executors do not need

        broker = several = ConcurrentLoop(orders, functions, page, reporter, quit_, orders_fd, MONOTONIC)
        several.listen(state)
    state.starts(lambda: quit_.ask() if page.is_asked and not quit_.asked else None)
    reporter.send(Ready())
    try:
        code = Runner(orders, broker, stock, page, reporter, quit_, orders_fd).run()
    finally:
        state.leaves_stacks(page.fd, all_threads=True)  # of whatever keeps it from ending
    tear_down_all(lambda why: reporter.send(Trouble(why)))
    return code


def task_of(page: BatchPage | SlotsPage) -> Callable[[], str]:
    """Gives the id of the task whose code runs here, '' if none does."""
    if isinstance(page, BatchPage):
        return lambda: "" if (running := page.running) is None else id_text(running[0])
    return lambda: "" if (seat := deliver_interrupts.get()) is None else id_text(seat.row[0])
