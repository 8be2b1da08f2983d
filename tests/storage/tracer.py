"""Prints the system calls of a running process that matter to P1: `python -m tests.storage.tracer PID`.

One line a call that has ended: thread, name, file. It is `strace` in a few lines, because not every machine has that.
See ptrace(2); numbers are those of asm/unistd.h.
"""

import ctypes
import os
import platform
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

SEIZE: Final = 0x4206
INTERRUPT: Final = 0x4207
SYSCALL: Final = 24
GET_SYSCALL_INFO: Final = 0x420E
ENTRY: Final = 1
EXIT: Final = 2
OPTIONS: Final = 1 | 8
"""PTRACE_O_TRACESYSGOOD and PTRACE_O_TRACECLONE: the trace includes threads that begin later."""
WALL: Final = 0x40000000
SYSCALL_STOP: Final = signal.SIGTRAP | 0x80
CALLS: Final = {
    "x86_64": {18: "pwrite", 44: "send", 46: "send", 74: "sync", 75: "sync"},
    "aarch64": {68: "pwrite", 206: "send", 211: "send", 82: "sync", 83: "sync"},
}


class Info(ctypes.Structure):
    """The fields of struct ptrace_syscall_info that are read: an entry's number and arguments."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
        ("rest", ctypes.c_uint64 * 4),
    ]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, thread: int, address: int | None = None, data: object = None) -> None:
    """Make one request of ptrace; raises OSError."""
    if _libc.ptrace(request, thread, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def trace(pid: int) -> None:
    """Print the calls of all threads of a process, until it or this program ends."""
    calls = CALLS.get(platform.machine())
    if calls is None:
        print("not known: the numbers of this machine's calls", flush=True)
        return
    try:
        for thread in [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]:
            ptrace(SEIZE, thread, None, OPTIONS)
            ptrace(INTERRUPT, thread)
    except PermissionError as error:
        print(f"not allowed: {error}", flush=True)
        return
    print("tracing", flush=True)
    in_flight: dict[int, tuple[str, str]] = {}
    info = Info()
    while True:
        try:
            thread, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return
        if not os.WIFSTOPPED(status):
            continue
        stopped_by, passed_on = os.WSTOPSIG(status), 0
        if stopped_by == SYSCALL_STOP:
            ptrace(GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.byref(info))
            if info.op == ENTRY and info.number in calls:
                name, file = calls[info.number], ""
                with suppress(OSError):
                    file = str(Path(f"/proc/{pid}/fd/{info.arguments[0]}").readlink())
                in_flight[thread] = (name, file)
                print(thread, "begin", name, file, flush=True)
            elif info.op == EXIT and thread in in_flight:
                print(thread, "end", *in_flight.pop(thread), flush=True)
        elif not status >> 16:  # a signal of its own, not one of ptrace's stops
            passed_on = stopped_by
        with suppress(OSError):
            ptrace(SYSCALL, thread, None, passed_on)


if __name__ == "__main__":
    trace(int(sys.argv[1]))
