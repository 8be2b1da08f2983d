"""The executor of mpi4py, on Open MPI."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mpi4py.futures import MPIPoolExecutor  # type: ignore[import-not-found]

from benchmarks.peers.system import System
from benchmarks.peers.systems.process_pool_executor import Futures

TITLE = "mpi4py.futures"
SETTINGS = (
    "mpiexec --oversubscribe -n 3 python -m mpi4py.futures, Open MPI's wheel; its processes spin while they wait; the "
    "start is without that of mpiexec"
)


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Use the workers that mpiexec has started."""
    with MPIPoolExecutor(workers) as executor:
        yield Futures(executor)
