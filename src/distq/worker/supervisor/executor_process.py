"""Starts, signals and reaps one executor: its process, its shared page, and the pipes of its reports and output.

The executor is started by exec, never by a bare fork, in a session of its own: the processes that a task starts belong
to that session, and the supervisor can end them without ending others.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from distq import _version
from distq.core.option_values import PROCESS
from distq.core.task_ids import id_text
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.executor_config import ExecutorConfig, write_config
from distq.worker.shared.page import Blame, Counts
from distq.worker.shared.reports import Report, ReportReader
from distq.worker.shared.slots_page import SlotsPage
from distq.worker.supervisor.output import ExecutorOutput, OutputPipes
from distq.worker.supervisor.watchdog import LeavingWatchdog, SlotsWatchdog, Watchdog, WatchdogAction

REPORT_BYTES = 65_536
START = """import sys
sys.path.append(sys.argv.pop(1))
from distq.worker.executor.main import main
sys.exit(main(sys.argv[1:]))"""
"""What an executor's interpreter runs; it finds distq in the folder where its supervisor found it."""
FOUND_IN = str(Path(_version.__file__).parents[1])
"""The folder that has the package distq in it."""


class ExecutorProcess:
    """A running executor."""

    __slots__ = (
        "_config_fd",
        "_leaving",
        "_listener",
        "number",
        "output",
        "page",
        "pid",
        "pidfd",
        "report_fd",
        "watchdog",
    )

    def __init__(
        self,
        number: int,
        pid: int,
        config_fd: int,
        report_fd: int,
        page: BatchPage | SlotsPage,
        output: ExecutorOutput | None,
    ) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.report_fd = report_fd
        self.page = page
        self.watchdog = Watchdog(page) if isinstance(page, BatchPage) else SlotsWatchdog(page)
        self.output = output
        """What the executor and its tasks write; None where they write to the supervisor's own streams."""
        self._config_fd = config_fd
        self._leaving = LeavingWatchdog(self.page)
        self._listener = ReportReader()

    @classmethod
    def spawn(cls, config: ExecutorConfig, environ: Mapping[str, str]) -> "ExecutorProcess":
        """Start an executor and send it its configuration; raises OSError if the system has no room for a process."""
        page = BatchPage.create() if config.executor == PROCESS else SlotsPage.create()
        config_read, config_write = os.pipe()
        report_read, report_write = os.pipe()
        output = pipes = None
        try:
            if config.captures:
                output = ExecutorOutput()
                pipes = output.create_pipes()
            pid = _exec((config_read, report_write, page.fd), pipes, environ)
        except OSError:
            os.close(config_write)
            os.close(report_read)
            page.close()
            if output is not None:
                output.close()
            raise
        finally:
            os.close(config_read)
            os.close(report_write)
            if pipes is not None:
                pipes.close()
        os.set_blocking(report_read, False)
        with suppress(BrokenPipeError):  # the executor is dead already: its pidfd becomes readable
            write_config(config_write, config)
        child = cls(config.number, pid, config_write, report_read, page, output)
        if output is not None:
            output.listen(pid, child.task_running)
        return child

    def task_running(self) -> str:
        """The id of the task that alone has run here since the last check, '' if that is not known."""
        only = self.watchdog.only_task if isinstance(self.watchdog, Watchdog) else None
        return "" if only is None else id_text(only[0])

    def read_reports(self) -> list[Report] | None:
        """Return the reports that have arrived since the last call; None if the executor has closed the pipe."""
        try:
            data = os.read(self.report_fd, REPORT_BYTES)
        except BlockingIOError:
            return []
        return self._listener.feed(data) if data else None

    def check(self, now: float) -> WatchdogAction:
        """What the executor needs now."""
        leaving = self._leaving.check(now)
        return self.watchdog.check(now) if leaving is None else leaving

    def ask_to_end(self) -> None:
        """Ask the executor, and no process that it has started, to end."""
        self.page.ask_to_end()
        signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the executor and all processes of its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def ask_for_stack(self) -> None:
        """Have the executor write its stack behind its page, also while C code runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGUSR1)

    def ask_to_stop(self) -> None:
        """Have the executor raise TaskStopped in the task that its page names, if that task still runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGUSR2)

    def reap(self) -> tuple[int, int] | None:
        """The wait status and the peak of resident bytes of an executor that has ended, None while it has not.

        After a bad end the processes that the executor has started are killed too: its task will run elsewhere and must
        not go on here. That happens before the process id can be given to another process.
        """
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        if self.output is not None:
            running = self.page.running
            self.output.executor_ended(id_text(running[0]) if running else "")
        if ended.si_code != os.CLD_EXITED or ended.si_status != os.EX_OK:
            self.kill()
        _, status, usage = os.wait4(self.pid, 0)
        return status, usage.ru_maxrss * 1024

    def end(self) -> tuple[Blame, Counts]:
        """Close all descriptors; returns the tasks that may have killed the executor, and its counts."""
        left = self.page.blame, self.page.counts
        os.close(self.pidfd)
        os.close(self.report_fd)
        os.close(self._config_fd)
        self.page.close()
        return left


def _exec(inherited: tuple[int, ...], pipes: OutputPipes | None, environ: Mapping[str, str]) -> int:
    if pipes is not None:
        inherited += (pipes.messages_fd,)
    # Without -P, Python would search the current folder before the standard library; the executor adds it after that.
    arguments = [sys.executable, "-P", "-c", START, FOUND_IN, *map(str, inherited)]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    # A descriptor duplicated onto itself is inherited; all others are closed by exec.
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited]
    if pipes is not None:
        actions += [(os.POSIX_SPAWN_DUP2, pipes.raw_fd, fd) for fd in (1, 2)]
    return os.posix_spawn(
        sys.executable,
        arguments,
        environ,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE),
    )
