"""Tests of the end of a task with its lease, inside its executor."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from distq.core.outcome import Outcome
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.interrupts import Interrupts
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.page import Ending

FAR_S = 100.0
SPINS = """
import os, sys, time
from distq.worker.shared.clock import MONOTONIC
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.process_state import ProcessState
from distq.worker.shared.batch_page import BatchPage

word = BatchPage(int(sys.argv[1]))
interrupts = Interrupts(word, MONOTONIC)
interrupts.listen(ProcessState())

def run(payload):
    print("runs", flush=True)
    until = MONOTONIC() + 30
    while MONOTONIC() < until:
        pass
    return b"over"

word.renew(0.0, MONOTONIC() + float(sys.argv[2]))
interrupts.run(run, b"", None, leased_at=1.0)
"""


@pytest.fixture(name="page")
def make_page() -> Iterator[BatchPage]:
    """Return a page, with signal handlers that no alarm harms."""
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    made = BatchPage.create()
    yield made
    made.close()
    signal.signal(signal.SIGALRM, before)


def test_a_task_whose_lease_is_valid_runs_and_is_lease_bound(page: BatchPage) -> None:
    """Its supervisor reads that from the page while the task runs."""
    now, seen = MONOTONIC(), []
    page.renew(now, now + FAR_S)

    def run(payload: bytes) -> bytes:
        seen.append(page.is_lease_bound)
        return payload

    assert Interrupts(page, MONOTONIC).run(run, b"x", None, leased_at=now) == b"x"
    assert Interrupts(page, MONOTONIC).run(run, b"x", FAR_S) == b"x"
    assert seen == [True, False]
    assert not page.is_lease_bound


@pytest.mark.parametrize(("since", "until"), [(0.0, -0.001), (0.5, FAR_S)], ids=["over", "of before"])
def test_a_task_whose_lease_is_not_valid_is_handed_back(page: BatchPage, since: float, until: float) -> None:
    """No code of the task runs: its lease is over, or was requested before the time that the page covers."""
    now = MONOTONIC()
    page.renew(now + since, now + until)
    ran = Interrupts(page, MONOTONIC).run(lambda _: pytest.fail("it ran"), b"", None, leased_at=now)
    assert ran == RunOutcome(Outcome.RELEASED, b"")
    assert not page.is_lease_bound


def spin(page: BatchPage, lease_s: float) -> "subprocess.Popen[bytes]":
    """Start a process that runs a task forever under this lease."""
    command = [sys.executable, "-c", SPINS, str(page.fd), str(lease_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[page.fd], start_new_session=True)


def test_a_task_is_killed_when_its_lease_is_over(page: BatchPage) -> None:
    """The alarm of its own process kills it, and the page has the reason."""
    with spin(page, 0.3) as process:
        assert process.wait(20) == -signal.SIGKILL
    assert page.ending is Ending.LEASE


def test_a_task_whose_lease_is_renewed_continues(page: BatchPage) -> None:
    """The alarm's handler checks the page first."""
    with spin(page, 0.3) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        page.renew(0.0, MONOTONIC() + FAR_S)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        page.renew(0.0, MONOTONIC() - 1.0)  # the next alarm is far away: nothing happens before it
        os.kill(process.pid, signal.SIGALRM)
        assert process.wait(20) == -signal.SIGKILL
