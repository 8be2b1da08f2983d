"""The executor: a process that asks for tasks, runs them one at a time, and answers for them.

    python -m distq.worker.executor ORDERS_FD REPORT_FD WORD_FD

It is started by its supervisor alone. It imports the user's code, the standard library, and the few parts of
distq that it needs: its start is on the way of every task whose executor has died.
"""

import os
import sys
from collections.abc import Sequence

from distq.tasks.lifespan import tear_down_all
from distq.worker.bonds import die_with_parent
from distq.worker.clock import MONOTONIC
from distq.worker.functions import Functions, import_modules, set_up
from distq.worker.handler import HandlerUnusable, load_handler
from distq.worker.interrupts import Interrupts
from distq.worker.orders import read_orders
from distq.worker.quit import Quit
from distq.worker.reports import Ready, Reporter, Trouble, Unable
from distq.worker.runner import Runner
from distq.worker.word import Word


def main(args: Sequence[str]) -> int:
    """Obey the orders on the first descriptor; returns the exit code."""
    orders_fd, report_fd, word_fd = map(int, args)
    for fd in (orders_fd, report_fd, word_fd):
        os.set_inheritable(fd, False)  # what a task starts must keep none of them open
    quit_ = Quit()
    quit_.listen()
    try:
        orders = read_orders(orders_fd)
    except EOFError:
        return os.EX_OK
    die_with_parent(orders.supervisor_pid)
    reporter = Reporter(report_fd)
    word = Word(word_fd)
    try:
        import_modules(orders.modules)
        handler = load_handler(orders.handler) if orders.handler else None
        set_up()
    except HandlerUnusable as error:
        reporter.send(Unable(str(error)))
        return error.exit_code
    functions = Functions(handler, orders.accept, orders.payload_bytes_max, lambda why: reporter.send(Trouble(why)))
    interrupts = Interrupts(word, MONOTONIC)
    interrupts.listen()
    reporter.send(Ready())
    code = Runner(orders, handler, functions, interrupts, word, reporter, quit_, orders_fd, MONOTONIC).run()
    tear_down_all(lambda why: reporter.send(Trouble(why)))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
