"""Tests of the cause of an executor's end."""

import signal

import pytest

from distq.worker.supervisor import cause


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
