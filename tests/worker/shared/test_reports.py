"""Tests of the reports of an executor to its supervisor."""

import os

import pytest

from distq.core.errors import DistqError
from distq.wire.framing import pack
from distq.worker.shared.reports import Failed, Ready, Reporter, ReportReader


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
