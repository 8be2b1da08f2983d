"""Limits the threads of the libraries that calls of joblib use: OpenMP, OpenBLAS, MKL and others.

Several tasks run on the machine of a worker at the same time. If each of them started a thread for each CPU, there
would be far more threads than CPUs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import joblib

from distq.tasks import access

VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""The environment variables that libraries read when they are loaded; programs that a call starts read them too."""


class ThreadLimit:
    """The limit of this process; batches that run in several of its threads at the same time share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batch_count = 0
        self._restore = ExitStack()

    @contextmanager
    def held(self, threads: int | None) -> Iterator[None]:
        """Limit the threads inside the `with` block; of batches that run at the same time the first sets the limit."""
        with self._lock:
            self._batch_count += 1
            if self._batch_count == 1:
                self._set(threads)
        try:
            yield
        finally:
            with self._lock:
                self._batch_count -= 1
                if not self._batch_count:
                    self._restore.close()

    def _set(self, threads: int | None) -> None:
        before = {name: os.environ.get(name) for name in VARIABLES}
        if threads is None and any(before.values()):
            return  # the operator of the worker has set a limit
        limit = threads or threads_of_a_slot()
        for name, text in before.items():
            os.environ[name] = str(limit)
            self._restore.callback(_set_variable, name, text)
        try:
            import threadpoolctl  # noqa: PLC0415 - a worker may have joblib without the extra; loaded libraries then keep theirs
        except ImportError:
            return
        self._restore.enter_context(threadpoolctl.threadpool_limits(limit))


def threads_of_a_slot() -> int:
    """Return how many CPUs each slot of this process's worker has, at least 1."""
    return max(int(joblib.cpu_count()) // access.worker_slots, 1)


def _set_variable(name: str, text: str | None) -> None:
    if text is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = text


bounded_threads = ThreadLimit().held
"""Limits the threads of this process's libraries: a number, or None for the CPUs of a slot."""
