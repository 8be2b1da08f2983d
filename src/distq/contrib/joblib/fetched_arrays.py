"""Large arrays that batches of calls share, in a process that runs batches: it fetches each array once.

The client keeps the bytes of an array at the master, as the arguments of tasks that do not run, and each batch has the
ids of these tasks. The first batch of a process fetches them. A process that starts later, or in place of one that
died, does the same.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from distq.client.client import Client, facts_of
from distq.core.errors import DistqError
from distq.net.dial import CannotReach, ConnectionLost
from distq.tasks.control import Snooze
from distq.wire.errors import RemoteRefusal

KEY_CHARS: Final = 32
"""Characters of the key of an array without a digest."""
KEPT_BYTES_MAX: Final = 256 << 20
"""Maximum bytes of arrays that a process keeps for later batches, besides those of its newest batch."""
IDLE_S: Final = 60.0
"""Seconds without a batch after which a process drops its arrays: a process does not learn of the end of a call."""
MASTER_AWAY_S: Final = 5.0
"""Seconds until a batch runs again whose arrays could not be fetched because no master answered."""

_now = time.monotonic  # noqa: TID251 - the edge: how long no batch has run


class ArrayGone(DistqError):
    """The master no longer has an array that a batch uses."""

    code = "ARRAY_GONE"
    hint = "Repeat the call of joblib.Parallel, or give it max_nbytes=None, so that each batch carries its arrays."


class ArrayReference(NamedTuple):
    """Where the bytes of an array are, and how to make the array of them."""

    key: str
    """Different for each array; from a client with keys it ends with the digest of the elements.

    The batch is signed, and so is the digest: the master cannot give a batch the elements of another array.
    """
    head: bytes
    """The pickle of the array without its elements; b"" if the elements are a pickle of the whole array."""
    size_bytes: int
    part_ids: tuple[str, ...]
    """The ids of the tasks whose arguments are the elements, in their order."""


class ArrayFetcher:
    """Fetches arrays from the master, and keeps those of the last batches."""

    def __init__(self, fetch: Callable[[ArrayReference], memoryview], kept_bytes_max: int, idle_s: float) -> None:
        self._fetch = fetch
        self._kept_bytes_max = kept_bytes_max
        self._idle_s = idle_s
        self._kept: dict[str, tuple[Any, int]] = {}
        """The arrays and their bytes by key; the ones that were used last are at the end."""
        self._used_at = 0.0
        self._has_timer = False
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        """Held while an array is fetched: threads that need the same array do not fetch it twice."""

    def arrays(self, references: Sequence[ArrayReference]) -> dict[str, Any]:
        """Return the arrays by key; raises ArrayGone, and Snooze if no master answers."""
        with self._fetching:
            found = {one.key: self._array(one) for one in references}
        with self._lock:
            self._used_at = _now()
            for one in references:
                self._kept.pop(one.key, None)
            self._drop_oldest()
            self._kept.update({one.key: (found[one.key], one.size_bytes) for one in references})
            if not self._has_timer:
                self._has_timer = True
                self._check_later(self._idle_s)
        return found

    def _array(self, reference: ArrayReference) -> Any:
        with self._lock:
            kept = self._kept.get(reference.key)
        return made(reference, self._fetch(reference)) if kept is None else kept[0]

    def _drop_oldest(self) -> None:
        total = sum(size for _, size in self._kept.values())
        while total > self._kept_bytes_max:
            total -= self._kept.pop(next(iter(self._kept)))[1]

    def _check_later(self, after_s: float) -> None:
        timer = threading.Timer(after_s, self._drop_if_idle)
        timer.name, timer.daemon = "distq-joblib-arrays", True
        timer.start()

    def _drop_if_idle(self) -> None:
        with self._lock:
            left_s = self._used_at + self._idle_s - _now()
            if left_s > 0:
                self._check_later(left_s)
            else:
                self._kept.clear()
                self._has_timer = False


def made(reference: ArrayReference, elements: memoryview) -> Any:
    """Make an array of its elements; no code can write to it, because other batches use it too."""
    if reference.head:
        return pickle.loads(reference.head, buffers=[elements])
    array = pickle.loads(elements)
    array.flags.writeable = False
    return array


def fetch(reference: ArrayReference) -> memoryview:
    """Return the elements of an array from the master; raises ArrayGone, Snooze."""
    elements = bytearray(reference.size_bytes)
    client = Client(wait_at_exit=False)
    try:
        begin = 0
        for part_id in reference.part_ids:
            part = _part(client, part_id)
            elements[begin : begin + len(part)] = part
            begin += len(part)
    except (CannotReach, ConnectionLost) as error:
        raise Snooze(MASTER_AWAY_S, f"an array of joblib.Parallel could not be fetched: {error}") from error
    finally:
        client.abandon()
    if len(reference.key) > KEY_CHARS and reference.key[KEY_CHARS:] != digest_of(elements):
        raise ArrayGone("The master has sent other elements of an array than those that the program has signed.")
    return memoryview(elements).toreadonly()


def digest_of(elements: bytearray | memoryview) -> str:
    """What tells whether elements of an array are those of the program."""
    return hashlib.sha256(elements).hexdigest()


def _part(client: Client, part_id: str) -> bytes:
    with suppress(RemoteRefusal):
        payload = facts_of(client, part_id)["payload"]
        if payload is not None:
            (part,), _ = pickle.loads(payload)
            return bytes(part)
    raise ArrayGone(
        f"The master no longer has an array that this batch of joblib.Parallel uses, because task {part_id} has ended: "
        "the call is over, or an operator has cancelled the task."
    )


_fetcher = ArrayFetcher(fetch, KEPT_BYTES_MAX, IDLE_S)
_present: ContextVar[Mapping[str, Any]] = ContextVar("_present")
"""The arrays of the batch that this thread unpickles."""


def read_batch(body: bytes, references: Sequence[ArrayReference]) -> Callable[[], list[Any]]:
    """Unpickle a batch that uses these arrays; raises ArrayGone, Snooze."""
    token = _present.set(_fetcher.arrays(references))
    try:
        batch: Callable[[], list[Any]] = pickle.loads(body)
    finally:
        _present.reset(token)
    return batch


def array_of(key: str, copied: bool, /) -> Any:
    """Return an array of the batch that this thread unpickles; the pickle of a batch calls it."""
    array = _present.get()[key]
    return array.copy(order="K") if copied else array
