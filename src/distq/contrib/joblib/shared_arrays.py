"""Large arrays that batches of calls share, in the program: each travels to the master once.

The client submits the elements of an array as the arguments of tasks that never become ready, in parts that the master
can read and store like other tasks. A batch carries the ids of these tasks instead of the array. When the call of
`joblib.Parallel` ends, or the array is freed and no batch needs it any more, the client cancels them. If the program
dies before that, they expire.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import cloudpickle

from distq.client.client import beside
from distq.client.future import TaskFuture, cancel_all
from distq.client.submitter import Submitter
from distq.client.unsendable import NotPicklable, why_unsendable
from distq.contrib.joblib.fetched_arrays import ArrayReference, array_of, digest_of
from distq.core.errors import DistqError
from distq.tasks.by_value import is_by_value, wrapped
from distq.tasks.codec import PROTOCOL

PART_BYTES_MAX: Final = 4 << 20
"""Maximum bytes of an array in one task: a larger frame would keep the master from other requests for longer."""
PART_OVERHEAD_BYTES: Final = 1024
"""Room for what the payload of such a task has besides the elements."""
DAY_S: Final = 86_400.0
RENEWED_S: Final = DAY_S
"""Seconds after which the next batch sends the array again, so that a call may take longer than EXPIRES_S."""
EXPIRES_S: Final = 2 * DAY_S
"""Seconds after which the master drops an array of a program that died."""
FULL_S: Final = 30.0
"""Seconds that a part of an array waits for room in a full queue, whose batches may make room; then the call fails."""

_now = time.monotonic  # noqa: TID251 - the edge: how old a shared array is


def keep_part(part: bytes) -> None:
    """Do nothing: the task of a part of an array exists for its argument, and expires before it is ready."""


class PackedBatch:
    """A batch as it travels; without shared arrays the pickle of this object becomes the batch when it is unpickled."""

    def __init__(self, body: bytes, arrays: Sequence[SharedArray]) -> None:
        self.body = body
        self.arrays = arrays

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the batch itself."""
        return pickle.loads, (self.body,)


class SharedArray:
    """An array whose elements the master has."""

    def __init__(self, reference: ArrayReference, futures: Sequence[TaskFuture[Any]]) -> None:
        self.reference = reference
        self.futures = futures
        self.shared_at = _now()
        self.batch_count = 0
        """The batches that use it and have no outcome yet."""
        self.is_freed = False
        """Whether the program has no reference to the array any more."""

    @property
    def is_usable(self) -> bool:
        """Whether another batch can use it: it is new enough, and the master has all parts."""
        return _now() - self.shared_at < RENEWED_S and not any(future.has_ended for future in self.futures)


class SharedArrays:
    """The arrays of a backend's calls."""

    def __init__(self, keeper: Submitter, payload_bytes_max: int) -> None:
        self._keeper = keeper
        self._part_bytes = max(min(PART_BYTES_MAX, payload_bytes_max - PART_OVERHEAD_BYTES), 1)
        self._shared: dict[int, tuple[Any, SharedArray]] = {}
        """The arrays by the id of the object: a weak reference, and what the master has."""
        self._replaced: list[SharedArray] = []
        """Arrays that were sent again; batches may still use what was sent before."""
        self._freed: deque[SharedArray] = deque()
        """Arrays that the program has freed; the garbage collector notes them in any thread, also inside of a lock."""
        self._using = threading.Lock()
        """Held by the thread that sends, and by one that drops the arrays of an aborted call meanwhile."""
        self._counting = threading.Lock()
        """Guards the counts of batches, which the client's thread of callbacks changes too."""

    def pack(self, batch: Any, bytes_min: int | None, *, copied: bool) -> PackedBatch:
        """Pickle a batch with references to its arrays of at least `bytes_min` bytes, after sending those that are new.

        Args:
            batch: what joblib submits.
            bytes_min: as `max_nbytes` of joblib; None sends each array within its batch.
            copied: whether each batch gets copies of the arrays, to which its calls can write.

        Raises:
            NotPicklable: an argument cannot be pickled.
            DistqError: what `Submitter.submit` raises while it sends an array.
        """
        with self._using:
            self._tidy()
            return self._packed(batch, bytes_min, copied=copied)

    def _packed(self, batch: Any, bytes_min: int | None, *, copied: bool) -> PackedBatch:
        used: dict[str, SharedArray] = {}

        def reduced(value: Any) -> tuple[Any, ...] | None:
            if bytes_min is None or not is_large_array(value, bytes_min):
                return None
            shared = self._share(value)
            used[shared.reference.key] = shared
            return array_of, (shared.reference.key, copied)

        file = io.BytesIO()
        try:
            _BatchPickler(file, reduced).dump(batch)
        except DistqError:
            raise
        except Exception as error:
            why = why_unsendable((), error)
            raise NotPicklable(f"A call of joblib.Parallel cannot be pickled: {why}.") from error
        body = file.getvalue()
        with self._counting:
            for shared in used.values():
                shared.batch_count += 1
        return PackedBatch(wrapped("A call of joblib.Parallel", body) if is_by_value(body) else body, [*used.values()])

    def release(self, arrays: Sequence[SharedArray]) -> None:
        """Note that a batch with these arrays has its outcome."""
        with self._counting:
            for shared in arrays:
                shared.batch_count -= 1

    def _tidy(self) -> None:
        """Drop at the master what neither the program nor a batch uses any more."""
        while self._freed:
            self._freed.popleft().is_freed = True
        unused = [one for one in self._replaced if not one.batch_count]
        self._replaced = [one for one in self._replaced if one.batch_count]
        for key, (_, shared) in list(self._shared.items()):
            if shared.is_freed and not shared.batch_count:
                del self._shared[key]
                unused.append(shared)
        _drop(unused)

    def drop_all(self) -> None:
        """Drop all arrays at the master: the call of `joblib.Parallel` has ended."""
        with self._using:
            every = [*self._replaced, *(shared for _, shared in self._shared.values())]
            self._shared.clear()
            self._replaced.clear()
            self._freed.clear()
            _drop(every)

    def _share(self, array: Any) -> SharedArray:
        known = self._shared.get(id(array))
        if known is not None:
            if known[0]() is array and known[1].is_usable:
                return known[1]
            self._replaced.append(known[1])
        head, elements = _split(array)
        shared = SharedArray(*self._sent(head, elements))
        self._shared[id(array)] = (weakref.ref(array, lambda _: self._freed.append(shared)), shared)
        return shared

    def _sent(self, head: bytes, elements: memoryview) -> tuple[ArrayReference, list[TaskFuture[Any]]]:
        futures: list[TaskFuture[Any]] = []
        try:
            for begin in range(0, len(elements), self._part_bytes):
                part = bytes(elements[begin : begin + self._part_bytes])
                futures.append(self._keeper.submit(keep_part, part))
        except BaseException:
            _drop_futures(futures)
            raise
        is_sealed = any(future.reads is not None for future in futures)
        ids = tuple(str(future.task_id) for future in futures)
        key = f"{uuid.uuid4().hex}{digest_of(elements)}" if is_sealed else uuid.uuid4().hex
        return ArrayReference(key, head, len(elements), ids), futures


class _BatchPickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Writes large arrays as references."""

    def __init__(self, file: io.BytesIO, reduced: Callable[[Any], tuple[Any, ...] | None]) -> None:
        super().__init__(file, PROTOCOL)
        self._reduced = reduced

    def reducer_override(self, obj: Any) -> Any:
        """Write an object: as a reference, or as cloudpickle does."""
        reduced = self._reduced(obj)
        return super().reducer_override(obj) if reduced is None else reduced


def shared_by(submitter: Submitter) -> SharedArrays:
    """The shared arrays of a client; their tasks are in the queue of the batches, so that a purge ends both.

    Raises TypeError for an object that is no client.
    """
    return SharedArrays(*beside(submitter, {"delay": 2 * EXPIRES_S, "expires": EXPIRES_S, "full": FULL_S}))


def is_large_array(value: Any, bytes_min: int) -> bool:
    """Whether a value is a NumPy array of at least that many bytes, without Python objects in it."""
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(value) in (numpy.ndarray, numpy.memmap)
        and value.nbytes >= bytes_min
        and not value.dtype.hasobject
    )


def _split(array: Any) -> tuple[bytes, memoryview]:
    """The pickle of an array without its elements, and these; b"" and the whole pickle where they cannot be divided."""
    numpy = sys.modules["numpy"]
    plain = numpy.asarray(array)
    if not (plain.flags.c_contiguous or plain.flags.f_contiguous):
        plain = numpy.ascontiguousarray(plain)
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(plain, PROTOCOL, buffer_callback=buffers.append)
    return (head, buffers[0].raw()) if len(buffers) == 1 else (b"", memoryview(pickle.dumps(plain, PROTOCOL)))


def _drop(arrays: Sequence[SharedArray]) -> None:
    _drop_futures([future for shared in arrays for future in shared.futures])


def _drop_futures(futures: Sequence[TaskFuture[Any]]) -> None:
    if futures:
        with suppress(DistqError):  # no master answers: the tasks expire
            cancel_all(futures)
