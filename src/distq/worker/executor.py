"""The executor: a process that asks for tasks, runs them, one at a time or several, and answers for them.

    python -m distq.worker.executor ORDERS_FD REPORT_FD PAGE_FD [OUTPUT_FD]

It is started by its supervisor alone. It imports the user's code, the standard library, and the few parts of
distq that it needs: its start is on the way of every task whose executor has died.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distq.core.task import PROCESS, text_of
from distq.tasks import access
from distq.tasks.access import MasterAccess
from distq.tasks.lifespan import tear_down_all
from distq.worker.board import Board
from distq.worker.bonds import die_with_parent
from distq.worker.broker import Broker
from distq.worker.capture import capture, write_through
from distq.worker.clock import MONOTONIC
from distq.worker.functions import Functions, set_up
from distq.worker.handler import HandlerUnusable, load_handler
from distq.worker.interrupts import Interrupts
from distq.worker.modules import add_current_folder, check_not_shadowed, import_modules
from distq.worker.orders import read_orders
from distq.worker.output_messages import Speaker
from distq.worker.process_state import ProcessState
from distq.worker.quit import Quit
from distq.worker.reports import Ready, Reporter, Trouble, Unable
from distq.worker.runner import Runner
from distq.worker.seat import present
from distq.worker.stock import Stock
from distq.worker.word import Word

if TYPE_CHECKING:
    from distq.worker.several import Several


def main(args: Sequence[str]) -> int:
    """Obey the orders on the first descriptor; returns the exit code."""
    orders_fd, report_fd, page_fd, *output_fds = map(int, args)
    for fd in (orders_fd, report_fd, page_fd, *output_fds):
        os.set_inheritable(fd, False)  # what a task starts must keep none of them open
    quit_, state = Quit(), ProcessState()
    quit_.listen(state)
    try:
        orders = read_orders(orders_fd)
    except EOFError:
        return os.EX_OK
    die_with_parent(orders.supervisor_pid)
    access.access = MasterAccess(
        orders.addresses, orders.authkey, orders.frame_bytes_max, orders.payload_bytes_max, orders.reconnect_max_s
    )
    reporter = Reporter(report_fd)
    page = Word(page_fd) if orders.executor == PROCESS else Board(page_fd)
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
    if isinstance(page, Word):
        interrupts = Interrupts(page, MONOTONIC)
        interrupts.listen(state)
        broker: Broker | Several = Broker(orders, functions, interrupts, page, reporter, quit_, orders_fd, MONOTONIC)
        stock = Stock(handler, page, reporter, quit_, MONOTONIC, verbose=orders.verbose)
    else:
        from distq.worker.several import Several  # noqa: PLC0415 - with asyncio, which most executors do not need

        broker = several = Several(orders, functions, page, reporter, quit_, orders_fd, MONOTONIC)
        several.listen(state)
    state.starts(lambda: quit_.ask() if page.is_asked and not quit_.asked else None)
    reporter.send(Ready())
    try:
        code = Runner(orders, broker, stock, page, reporter, quit_, orders_fd).run()
    finally:
        state.leaves_stacks(page.fd, all_threads=True)  # of whatever keeps it from ending
    tear_down_all(lambda why: reporter.send(Trouble(why)))
    return code


def task_of(page: Word | Board) -> Callable[[], str]:
    """Gives the id of the task whose code runs here, '' if none does."""
    if isinstance(page, Word):
        return lambda: "" if (running := page.running) is None else text_of(running[0])
    return lambda: "" if (seat := present.get()) is None else text_of(seat.row[0])
