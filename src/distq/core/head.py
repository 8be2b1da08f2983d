"""A task's head as the store keeps it: what the ledger must know again after a restart, in at most 260 bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.errors import DistqError

if TYPE_CHECKING:
    from distq.core.task import Envelope

VERSION: Final = 1
_FIXED: Final = struct.Struct("!BBIHHddd")
_ENVELOPE: Final = struct.Struct("!BHIdd")
NAME_BYTES_MAX: Final = 64
"""Bound of a queue's name, in UTF-8 ..."""
TASK_NAME_BYTES_MAX: Final = 128
"""... and of a task's, so that a head stays within 260 bytes."""


class NameTooLong(DistqError):
    """A queue's or a task's name is longer than a head has room for."""

    code = "NAME_TOO_LONG"
    hint = f"Queue names have at most {NAME_BYTES_MAX} bytes, task names {TASK_NAME_BYTES_MAX}."


class Head(NamedTuple):
    """The numbers of one stored head; times are seconds since 1970."""

    state: int
    delivery: int
    failures: int
    lost: int
    submitted_at: float
    since: float
    due_at: float
    kind: str
    queue: str
    name: str
    priority: int
    retries: int
    max_deliveries: int
    result_ttl_s: float
    time_limit_s: float | None


def pack_envelope(envelope: Envelope) -> bytes:
    """The part that all tasks of one envelope share; raises NameTooLong."""
    queue, name, kind = (text.encode() for text in (envelope.queue.name, envelope.name, envelope.kind))
    if len(queue) > NAME_BYTES_MAX or len(name) > TASK_NAME_BYTES_MAX:
        raise NameTooLong(f"the name {envelope.name!r} or its queue's {envelope.queue.name!r} is too long")
    limit_s = 0.0 if envelope.time_limit_s is None else envelope.time_limit_s
    numbers = _ENVELOPE.pack(
        envelope.priority, envelope.retries, envelope.max_deliveries, envelope.result_ttl_s, limit_s
    )
    return numbers + b"\0".join((kind, queue, name))


def pack(
    envelope: Envelope,
    state: int,
    delivery: int,
    failures: int,
    lost: int,
    submitted_at: float,
    since: float,
    due_at: float,
) -> bytes:
    """One head; `envelope.packed` must be set."""
    return _FIXED.pack(VERSION, state, delivery, failures, lost, submitted_at, since, due_at) + envelope.packed


def unpack(head: bytes) -> Head:
    """Read a head again; raises ValueError for one of a version that this distq does not know."""
    version, state, delivery, failures, lost, submitted_at, since, due_at = _FIXED.unpack_from(head)
    if version != VERSION:
        raise ValueError(f"a task head of version {version}, this distq reads {VERSION}")
    priority, retries, max_deliveries, ttl_s, limit_s = _ENVELOPE.unpack_from(head, _FIXED.size)
    kind, queue, name = head[_FIXED.size + _ENVELOPE.size :].split(b"\0", 2)
    return Head(
        state,
        delivery,
        failures,
        lost,
        submitted_at,
        since,
        due_at,
        kind.decode(),
        queue.decode(),
        name.decode(),
        priority,
        retries,
        max_deliveries,
        ttl_s,
        limit_s or None,
    )
