"""The backend of `joblib.Parallel`: each batch of calls is a task.

joblib calls `submit` with its lock held, later also in the thread that calls the callbacks of futures. So `submit`
never waits and never raises: another thread pickles the batch and sends it, and an error there is the batch's outcome.
That thread also sends the arrays that batches share, and drops them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import get_close_matches
from typing import Any, Final, cast

from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from distq.client.client import Client, sessions_are_replaced
from distq.client.future import TaskFuture, cancel_all
from distq.client.map_results import at_least_one
from distq.client.submitter import Submitter
from distq.contrib.joblib import NAME
from distq.contrib.joblib.batch import Batch, run_batch
from distq.contrib.joblib.shared_arrays import PackedBatch, SharedArrays, shared_by
from distq.core.ranges import shown

N_JOBS_MIN: Final = 2
"""Minimum parallel batches on a cluster: joblib runs the calls in the calling process if there is one."""
MAPPED: Final = {"r": False, "c": True}
"""The values of joblib's `mmap_mode` under which batches share arrays, and whether each gets a copy to write to."""
NEAR: Final = 0.8
"""Minimum likeness (0 to 1) from which an unknown parameter of `Parallel` is a typo and not one of other backends."""
OWN_PARAMETERS: Final = ("client", "slots")
PARAMETERS: Final = (
    *OWN_PARAMETERS,
    *("n_jobs", "inner_max_num_threads", "max_nbytes", "mmap_mode", "temp_folder", "prefer", "require", "verbose"),
)
"""The parameters of `joblib.parallel_config("distq", ...)`: the backend's own and those of joblib."""


class JoblibBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """Runs batches of calls as tasks; made by `joblib.parallel_config("distq", ...)`.

    Args:
        client: the client that submits the batches, or `client.options(...)`; by default a client that reads the
            environment and the file `.env`.
        slots: how many tasks the cluster can run at the same time, for `n_jobs=-1`; by default the slots of the workers
            that are connected. Set it for a cluster that grows with its load.
        nesting_level: set by joblib.
        inner_max_num_threads: how many threads OpenMP, OpenBLAS, MKL and similar libraries use in a task.

    Raises:
        TypeError: there is no such parameter.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(
        self,
        client: Submitter | None = None,
        slots: int | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            near = get_close_matches(name, PARAMETERS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"it has {', '.join(PARAMETERS)}"
            raise TypeError(f"the backend {NAME} has no parameter {shown(name)}; {meant}")
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._submitter = client or Client(wait_at_exit=False)
        self._slots = None if slots is None else at_least_one("slots", slots)
        self._arrays = shared_by(self._submitter)
        self._array_bytes_min: int | None = None
        """The size from which on batches share an array; None if each batch carries its arrays."""
        self._gives_copies = False
        self._sender: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._running: set[TaskFuture[Any]] = set()
        """The batches that were sent and have no outcome yet."""
        self._call = 0
        """Counts calls of `Parallel`: a batch of an aborted one is not sent any more."""
        self._active_calls = 0
        """The calls of `Parallel` that have not ended: a generator that is not exhausted is one."""

    # -- what joblib calls ---------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """The number of batches that run at the same time; raises ValueError, CannotReach."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        slots = self._submitter.slots() if self._slots is None else self._slots
        return max(slots + 1 + n_jobs, N_JOBS_MIN)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        **parameters: Any,
    ) -> int:
        """Prepare for calls of `Parallel`; returns the number of batches that run at the same time.

        Raises:
            ValueError: the calls would write to shared arrays.
            TypeError: a parameter of the backend was given to `Parallel`, where it has no effect.
            CannotReach: no master answers.
        """
        for name in parameters:  # those of other backends, too: programs that can use several give them
            if near := get_close_matches(name, OWN_PARAMETERS, n=1, cutoff=NEAR):
                raise TypeError(
                    f"joblib.Parallel has no parameter {shown(name)}; give {near[0]} to joblib.parallel_config"
                )
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if mmap_mode is not None and mmap_mode not in MAPPED:
            raise ValueError(
                f"mmap_mode={mmap_mode!r} lets calls write to arrays that they share with the program, and workers "
                'share no memory with it: use "r" (arrays are read-only), "c" (each batch has copies) or None.'
            )
        self.parallel = parallel
        # In `distq.testing.eager` tasks run at the submit, and no master could keep arrays.
        shares = mmap_mode is not None and not sessions_are_replaced()
        self._array_bytes_min = max_nbytes if shares else None
        self._gives_copies = MAPPED.get(mmap_mode or "", False)
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:
        """Begin a call of `Parallel`."""
        with self._lock:
            self._active_calls += 1

    def stop_call(self) -> None:
        """End a call of `Parallel`: without others, the master needs the arrays no more."""
        with self._lock:
            self._active_calls -= 1
            if not self._active_calls:
                self._sending().submit(self._arrays.drop_all)
                self._arrays = shared_by(self._submitter)

    def submit(self, batch: Any, callback: Callable[[Any], None] | None = None) -> Future[Any]:
        """Have the sender's thread send a batch; `callback` gets the future of its results."""
        outcome: Future[Any] = Future()
        if callback is not None:
            outcome.add_done_callback(callback)
        with self._lock:
            self._sending().submit(self._send, batch, outcome, self._call, self._arrays)
        return outcome

    apply_async = submit
    """As joblib before 1.5 calls it."""

    def retrieve_result_callback(self, outcome: Future[Any]) -> Any:
        """The results of a batch; raises what one of its calls raised."""
        return outcome.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the batches of this call, also those that run."""
        with self._lock:
            self._call += 1
            running = list(self._running)
        cancel_all(running, running=True)
        if not ensure_ready:
            self.terminate()

    def terminate(self) -> None:
        """End the sender's thread, after a call of `Parallel`."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.shutdown(wait=False)
        self.reset_batch_stats()

    def get_nested_backend(self) -> tuple[Any, int]:
        """The backend of `Parallel` inside a task: it runs its calls one after another, because a task has one slot."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), 1

    def _sending(self) -> ThreadPoolExecutor:
        """The executor of the sender's thread; called with the lock held."""
        if self._sender is None:
            self._sender = ThreadPoolExecutor(1, thread_name_prefix="distq-joblib")
        return self._sender

    # -- the sender's thread -------------------------------------------------------------------

    def _send(self, batch: Any, outcome: Future[Any], call: int, arrays: SharedArrays) -> None:
        if call != self._call:
            return  # joblib ignores what happens to batches of an aborted call
        try:
            packed = arrays.pack(batch, self._array_bytes_min, copied=self._gives_copies)
            try:
                future = self._submitted(packed)
            except BaseException:
                arrays.release(packed.arrays)
                raise
        except BaseException as error:  # noqa: BLE001 - classes of arguments may raise anything while they are pickled
            outcome.set_exception(error)
            return
        with self._lock:
            self._running.add(future)
            is_aborted = call != self._call
        used = packed.arrays
        future.add_done_callback(lambda _: arrays.release(used))
        future.add_done_callback(lambda _: self._ended(future, outcome))
        if is_aborted:
            cancel_all([future], running=True)

    def _submitted(self, packed: PackedBatch) -> TaskFuture[Any]:
        """Submit a batch; without arrays and limits of threads as earlier versions do, whose workers know no others."""
        threads = self.inner_max_num_threads
        if packed.arrays:
            references = [shared.reference for shared in packed.arrays]
            return self._submitter.submit(run_batch, packed.body, references, threads)
        batch = cast("Batch", packed)  # it is one where it is unpickled
        if threads is not None:
            return self._submitter.submit(run_batch, batch, (), threads)
        return self._submitter.submit(run_batch, batch)

    def _ended(self, future: TaskFuture[Any], outcome: Future[Any]) -> None:
        with self._lock:
            self._running.discard(future)
        if future.cancelled():
            outcome.cancel()
            outcome.set_running_or_notify_cancel()
            return
        error = future.exception()
        if error is None:
            outcome.set_result(future.result())
        else:
            outcome.set_exception(error)
