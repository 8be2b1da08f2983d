"""The executor: a process that leases tasks, runs one or several at the same time, and settles them.

    python -m distq.worker.executor.main ORDERS_FD REPORT_FD PAGE_FD [OUTPUT_FD]

Only the supervisor starts it. It imports the user's code, the standard library, and the few parts of distq that it
needs: when an executor has died, its tasks wait for the start of the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distq.core.option_values import PROCESS
from distq.core.task_ids import id_text
from distq.settings.current_keys import current_payload_keys
from distq.tasks import access
from distq.tasks.access import MasterAccess
from distq.tasks.lifespan import tear_down_all
from distq.tasks.seal import OVERHEAD_BYTES, sealer_of
from distq.worker.executor.batch_loop import BatchLoop
from distq.worker.executor.capture import capture, write_through
from distq.worker.executor.functions import Functions, set_up
from distq.worker.executor.handler import HandlerUnusable, load_handler
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.modules import add_current_folder, check_not_shadowed, import_modules
from distq.worker.executor.parent_death import die_with_parent
from distq.worker.executor.process_state import ProcessState
from distq.worker.executor.runner import Runner
from distq.worker.executor.running_task import running_task
from distq.worker.executor.seals import ExecutorSeals
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.stdlib_server import StdlibServerLoop
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import ExecutorConfig, read_config
from distq.worker.shared.output_messages import MessageWriter
from distq.worker.shared.reports import Ready, Reporter, Trouble, Unable
from distq.worker.shared.slots_page import SlotsPage

if TYPE_CHECKING:
    from distq.worker.executor.concurrent_loop import ConcurrentLoop


def main(args: Sequence[str]) -> int:
    """Run with the configuration on the first descriptor, and return the exit code."""
    config_fd, report_fd, page_fd, *output_fds = map(int, args)
    for fd in (config_fd, report_fd, page_fd, *output_fds):
        os.set_inheritable(fd, False)  # what a task starts must keep none of them open
    shutdown, state = ShutdownFlag(), ProcessState()
    shutdown.listen(state)
    try:
        config = read_config(config_fd)
    except EOFError:
        return os.EX_OK
    die_with_parent(config.supervisor_pid)
    _set_access(config)
    reporter = Reporter(report_fd)
    page = BatchPage(page_fd) if config.executor == PROCESS else SlotsPage(page_fd)
    access.task_running = task_of(page)
    if output_fds:
        capture(MessageWriter(output_fds[0]), access.task_running, config.log_level)
    else:
        write_through()
    add_current_folder()
    try:
        import_modules(config.modules)
        check_not_shadowed(config.handler.partition(":")[0])
        handler = load_handler(config.handler) if config.handler else None
        set_up()
    except HandlerUnusable as error:
        reporter.send(Unable(f"{error} {error.hint}"))
        page.set_leaving()  # a thread that a module has started may keep it from ending
        return error.exit_code
    current = current_payload_keys(config, lambda why: reporter.send(Trouble(why)))
    sealer = sealer_of(config, current)
    seals = None if sealer is None else ExecutorSeals(sealer)
    result_bytes_max = config.payload_bytes_max - (0 if seals is None else OVERHEAD_BYTES)
    functions = Functions(handler, config.accept, result_bytes_max, lambda why: reporter.send(Trouble(why)))
    stdlib_loop = None
    if isinstance(page, BatchPage):
        interrupts = Interrupts(page, MONOTONIC)
        interrupts.listen(state)
        broker: BatchLoop | ConcurrentLoop = BatchLoop(
            config, functions, interrupts, page, reporter, shutdown, config_fd, MONOTONIC, seals
        )
        stdlib_loop = StdlibServerLoop(handler, page, reporter, shutdown, MONOTONIC, verbose=config.verbose)
    else:
        from distq.worker.executor.concurrent_loop import ConcurrentLoop  # noqa: PLC0415 - with asyncio, which most executors do not need

        broker = several = ConcurrentLoop(config, functions, page, reporter, shutdown, config_fd, MONOTONIC, seals)
        several.listen(state)
    access.note_submit = broker.note_submit
    state.start(lambda: shutdown.set() if page.is_asked_to_end and not shutdown.is_set else None)
    reporter.send(Ready())
    try:
        code = Runner(config, broker, stdlib_loop, page, reporter, shutdown, config_fd).run()
    finally:
        state.write_stacks_to(page.fd, all_threads=True)  # of whatever keeps it from ending
    tear_down_all(lambda why: reporter.send(Trouble(why)))
    return code


def _set_access(config: ExecutorConfig) -> None:
    """Let tasks reach the worker's master."""
    access.access = MasterAccess(
        config.addresses,
        config.authkeys,
        config.frame_bytes_max,
        config.payload_bytes_max,
        config.reconnect_max_s,
        config.tls,
        config.signing_keys,
        config.encryption_keys,
        config.unsigned,
        config.accept,
        config.key_files,
    )
    access.worker_slots = config.worker_slots


def task_of(page: BatchPage | SlotsPage) -> Callable[[], str]:
    """Gives the id of the task whose code runs here, '' if none does."""
    if isinstance(page, BatchPage):
        return lambda: "" if (running := page.running) is None else id_text(running[0])
    return lambda: "" if (task := running_task.get()) is None else id_text(task.row[0])
