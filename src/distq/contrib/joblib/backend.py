"""The backend of `joblib.Parallel`: each batch of calls is a task.

joblib calls `submit` with its lock held, later also in the thread that calls the callbacks of futures. So `submit`
never waits and never raises: another thread pickles the batch and sends it, and an error there is the batch's outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from distq.client.client import Client, sending_by_value
from distq.client.future import TaskFuture, cancel_all
from distq.client.map_results import at_least_one
from distq.client.submitter import Submitter
from distq.contrib.joblib.batch import run_batch

N_JOBS_MIN: Final = 2
"""Minimum parallel batches on a cluster: joblib runs the calls in the calling process if there is one."""


class JoblibBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """Runs batches of calls as tasks; made by `joblib.parallel_config("distq", ...)`.

    Args:
        client: the client that submits the batches, or `client.options(...)`; by default a client that reads the
            environment and the file `.env`.
        slots: how many tasks the cluster can run at the same time, for `n_jobs=-1`; by default the slots of the workers
            that are connected. Set it for a cluster that grows with its load.
        nesting_level: set by joblib.
        **parameters: what joblib gives to each backend.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(
        self,
        client: Submitter | None = None,
        slots: int | None = None,
        nesting_level: int | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, **parameters)
        self._submitter = sending_by_value(client or Client(wait_at_exit=False))
        self._slots = None if slots is None else at_least_one("slots", slots)
        self._sender: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._running: set[TaskFuture[Any]] = set()
        """The batches that were sent and have no outcome yet."""
        self._call = 0
        """Counts calls of `Parallel`: a batch of an aborted one is not sent any more."""

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

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_parameters: Any) -> int:
        """Prepare for a call of `Parallel`; returns the number of batches that run at the same time."""
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def submit(self, batch: Any, callback: Callable[[Any], None] | None = None) -> Future[Any]:
        """Have the sender's thread send a batch; `callback` gets the future of its results."""
        outcome: Future[Any] = Future()
        if callback is not None:
            outcome.add_done_callback(callback)
        with self._lock:
            if self._sender is None:
                self._sender = ThreadPoolExecutor(1, thread_name_prefix="distq-joblib")
            self._sender.submit(self._send, batch, outcome, self._call)
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

    # -- the sender's thread -------------------------------------------------------------------

    def _send(self, batch: Any, outcome: Future[Any], call: int) -> None:
        if call != self._call:
            return  # joblib ignores what happens to batches of an aborted call
        try:
            future: TaskFuture[Any] = self._submitter.submit(run_batch, batch)
        except BaseException as error:  # noqa: BLE001 - classes of arguments may raise anything while they are pickled
            outcome.set_exception(error)
            return
        with self._lock:
            self._running.add(future)
            is_aborted = call != self._call
        future.add_done_callback(lambda _: self._ended(future, outcome))
        if is_aborted:
            cancel_all([future], running=True)

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
