"""Tests of the worker's small parts: prefetch size, pages, exit reason, reports, configuration, memory."""

import os
import signal
from pathlib import Path

import pytest

from distq.core.errors import DistqError
from distq.wire.framing import pack
from distq.worker.executor.prefetch import WANT_MAX, PrefetchSize
from distq.worker.shared.batch_page import BEGUN, BatchPage
from distq.worker.shared.executor_config import ExecutorConfig, read_config, write_config
from distq.worker.shared.page import Counts
from distq.worker.shared.reports import Failed, Ready, Reporter, ReportReader
from distq.worker.supervisor import cause
from distq.worker.supervisor.memory import Cgroup, Memory


def prefetch_after(*runs_s: float) -> PrefetchSize:
    """Return a prefetch size after tasks of these run times, each leased as wanted."""
    prefetch = PrefetchSize()
    for run_s in runs_s:
        prefetch.task_ran(run_s)
        prefetch.leased(prefetch.want)
    return prefetch


def test_an_executor_first_requests_one_task() -> None:
    """The executor does not know yet how long tasks run."""
    assert PrefetchSize().want == 1


def test_short_tasks_are_requested_in_growing_numbers() -> None:
    """The size at most doubles, up to the limit."""
    assert prefetch_after(1e-6, 1e-6, 1e-6).want == 8
    assert prefetch_after(*[1e-6] * 20).want == WANT_MAX


def test_requests_fill_the_horizon() -> None:
    """The executor requests ten tasks of five milliseconds."""
    assert prefetch_after(*[0.005] * 20).want == 10


def test_one_long_task_lowers_the_prefetch_size_which_then_rises_slowly() -> None:
    """Few tasks must wait behind a long one among short ones."""
    prefetch = prefetch_after(*[1e-6] * 20, 1.0)
    assert prefetch.want == 1
    prefetch.task_ran(1e-6)
    prefetch.leased(1)
    assert prefetch.want == 1


def test_fewer_leased_tasks_than_wanted_do_not_raise_the_prefetch_size() -> None:
    """The queue had no more tasks, so a larger request would not help."""
    prefetch = PrefetchSize()
    prefetch.task_ran(1e-6)
    prefetch.leased(0)
    assert prefetch.want == 1


def test_the_page_shows_running_and_done_tasks() -> None:
    """The other mapping of the same memory shows them immediately."""
    page = BatchPage.create()
    reader = BatchPage(os.dup(page.fd))
    assert reader.running is None
    page.set_batch([1 << 62, 3, 2, 1])
    assert page.begin(0) == BEGUN
    assert reader.running == (1 << 62, 3)
    assert reader.unstarted(reader.position) == [(2, 1)]
    assert page.begin(1) == BEGUN
    assert reader.running == (2, 1)
    page.rest()
    page.count_ended(1, 1, 0.75)
    page.count_released(4)
    assert reader.running is None
    assert reader.counts == Counts(done=1, failed=1, released=4, run_s=0.75)
    assert Counts(1, 2, 3, 4.0).plus(Counts(1, 1, 1, 1.0)) == Counts(2, 3, 4, 5.0)
    page.close()
    reader.close()


@pytest.mark.parametrize(
    ("status", "memory", "kind", "text"),
    [
        (3 << 8, False, cause.EXIT, "exit code 3"),
        (0, False, cause.EXIT, "exit code 0"),
        (signal.SIGSEGV, False, cause.SIGNAL, "killed by SIGSEGV"),
        (signal.SIGSEGV | 0x80, False, cause.SIGNAL, "killed by SIGSEGV"),
        (signal.SIGKILL, False, cause.SIGNAL, "killed by SIGKILL"),
        (signal.SIGKILL, True, cause.OUT_OF_MEMORY, "out of memory (cgroup)"),
        (signal.SIGSEGV, True, cause.SIGNAL, "killed by SIGSEGV"),
        (signal.SIGRTMIN + 1, False, cause.SIGNAL, f"killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_a_wait_status_is_decoded(status: int, memory: bool, kind: str, text: str) -> None:
    """The cause is a signal, an exit code, or the kernel's lack of memory."""
    assert cause.cause_of_status(status, out_of_memory=memory) == (kind, text)


def test_reports_arrive_whole_through_a_pipe() -> None:
    """They may arrive in pieces; long texts are cut so that each fits into one atomic write."""
    read_fd, write_fd = os.pipe()
    reporter, listener = Reporter(write_fd), ReportReader()
    reporter.send(Ready())
    reporter.send(Failed("1-2", "plain", 1, "\N{SNOWMAN}" * 5_000))
    data = os.read(read_fd, 65_536)
    reports = [report for piece in (data[:7], data[7:50], data[50:]) for report in listener.feed(piece)]
    assert reports[0] == Ready()
    assert isinstance(reports[1], Failed)
    assert reports[1].cause.endswith("…")
    os.close(read_fd)
    reporter.send(Ready())  # no process reads any more: that is no error
    os.close(write_fd)


def test_a_report_that_finds_the_pipe_full_is_dropped() -> None:
    """An executor never waits for its supervisor; the reports in the pipe stay whole, and the next one finds room."""
    read_fd, write_fd = os.pipe()
    reporter, reader, sent = Reporter(write_fd), ReportReader(), 5_000
    for _ in range(sent):
        reporter.send(Failed("1-2", "plain", 1, "x" * 300))
    reports = reader.feed(os.read(read_fd, 1 << 24))
    assert 0 < len(reports) < sent
    reporter.send(Ready())
    assert reader.feed(os.read(read_fd, 65_536)) == [Ready()]
    os.close(read_fd)
    os.close(write_fd)


def test_other_data_in_the_pipe_is_reported_as_no_report() -> None:
    """User code may write to any descriptor; the supervisor survives it."""
    with pytest.raises(DistqError, match="cannot be read"):
        ReportReader().feed(pack(b"not a pickle"))


def executor_config(**fields: object) -> ExecutorConfig:
    """Return the configuration of a worker that does not exist."""
    given: dict[str, object] = {
        "addresses": (("127.0.0.1", 9),),
        "authkey": b"k" * 20,
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


def test_a_configuration_arrives_through_a_pipe() -> None:
    """The executor also notices a supervisor that ends before it has sent one."""
    read_fd, write_fd = os.pipe()
    write_config(write_fd, executor_config(number=7))
    assert read_config(read_fd) == executor_config(number=7)
    os.close(write_fd)
    with pytest.raises(EOFError):
        read_config(read_fd)
    os.close(read_fd)


def write(folder: Path, **files: str) -> None:
    """Write files of a control group; `__` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_memory_of_a_version_2_group_is_read(tmp_path: Path) -> None:
    """The files are in the group's folder, which /proc/self/cgroup names."""
    write(tmp_path / "proc/self", cgroup="0::/pod/worker\n")
    write(
        tmp_path / "fs/pod/worker",
        memory__current="1000\n",
        memory__max="max\n",
        memory__events="low 0\noom 3\noom_kill 2\n",
    )
    group = Cgroup(tmp_path / "fs", tmp_path / "proc")
    assert group.memory == Memory(1000, None)
    assert group.out_of_memory_kills == 2
    write(tmp_path / "fs/pod/worker", memory__max="5000\n", memory__stat="anon 9\nactive_file 100\ninactive_file 200\n")
    assert group.memory == Memory(1000, 5000)
    assert group.cached_bytes == 300


def test_the_memory_of_a_version_1_group_is_read(tmp_path: Path) -> None:
    """A container shows only the root of the hierarchy; a huge limit counts as none."""
    write(tmp_path / "proc/self", cgroup="5:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    write(
        tmp_path / "fs/memory",
        memory__usage_in_bytes="7\n",
        memory__limit_in_bytes=f"{(1 << 63) - 4096}\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 3\ntotal_active_file 2\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    group = Cgroup(tmp_path / "fs", tmp_path / "proc")
    assert group.memory == Memory(7, None)
    assert group.cached_bytes == 5
    assert group.out_of_memory_kills == 1


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    """An unknown limit is not zero."""
    group = Cgroup(tmp_path, tmp_path)
    assert group.memory == Memory(None, None)
    assert group.out_of_memory_kills == 0
