"""Functions with arrays that the tests' workers run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np


def part_sum(array: Any, index: int) -> tuple[int, float]:
    """Return the process and the sum of a few elements."""
    return os.getpid(), float(array[index : index + 10].sum())


def facts(array: Any) -> tuple[str, tuple[int, ...], bool, bool, float]:
    """Return what the call received."""
    return str(array.dtype), array.shape, bool(array.flags.writeable), bool(array.flags.f_contiguous), checksum(array)


def checksum(array: Any) -> float:
    """Return a number that depends on each element and its position."""
    numbers = np.frombuffer(array.tobytes(), np.uint8).astype(float)
    return float((numbers * np.arange(1, numbers.size + 1)).sum())


def writes(array: Any) -> float:
    """Write to the array."""
    array[0] = 7
    return float(array[0])


def dies_once(array: Any, index: int, path: Path) -> float:
    """Kill the own process in the first run of the third call."""
    if index == 3 and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(array[index])


def waits_for(array: Any, index: int, path: Path) -> float:
    """Return when a file exists."""
    path.with_suffix(f".{index}").touch()
    while not path.exists():
        time.sleep(0.01)  # no event announces a file
    return float(array[index])


def fails(array: Any) -> None:
    """Raise an error."""
    raise ValueError(f"{array.size} elements")


def thread_limits(_: int) -> tuple[str | None, set[int]]:
    """Return the limits of the threads of libraries: the environment's, and those of the loaded libraries."""
    import threadpoolctl  # noqa: PLC0415 - the test knows whether it is there

    return os.environ.get("OMP_NUM_THREADS"), {one["num_threads"] for one in threadpoolctl.threadpool_info()}
