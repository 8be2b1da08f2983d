"""The memory that a process uses now; the supervisor and the executors read it."""

import os


def resident_bytes(pid: int | str) -> int:
    """The resident memory of the process `pid` (or "self"), in bytes; 0 if the process has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - a tenth of Path's cost
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
