"""The head of a task as the store keeps it: what the ledger needs after a restart, in at most 270 bytes.

Keys of the task and required labels each add up to 200 bytes; headers add up to 2,400. With DISTQ_TASKS_PER_KEY_MAX
the name of the key that submitted the task adds up to 64.

A head of version 2 has additional fields. The master writes it only for a task that has one of them.
"""

from __future__ import annotations

import json
import re
import struct
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.constraints import DEPENDENCIES_MAX, NO_CONSTRAINTS, DependsOn, TaskConstraints
from distq.core.errors import DistqError
from distq.core.option_values import LABELS_BYTES_MAX, NO_LABELS, PRIORITIES
from distq.core.ranges import KEY_MAX, shown, text
from distq.core.states import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distq.core.task import Envelope

VERSION: Final = 1
WITH_CONSTRAINTS: Final = 2
_FIXED: Final = struct.Struct("!BBIHHddd")
_ENVELOPE: Final = struct.Struct("!BHIddBB")
_REQUIRING: Final = 0x80
"""Bit in the stored priority of an envelope that requires labels; the labels follow the numbers, after their length."""
_COSTLY: Final = 0x40
"""Bit in the stored priority of an envelope that takes more than one slot; its cost follows the labels."""
_COST: Final = struct.Struct("!H")
_OF_KEY: Final = 0x20
"""Bit in the stored priority of an envelope with a key's name; length and name follow the cost."""
_LABELS_JOIN: Final = ","
_EXPIRES: Final = struct.Struct("!d")
_EXPIRING, _KEYED = 1, 2
"""Bits of the byte that says which fields a head of version 2 adds: `expires_at`; constraints (length, then JSON)."""
_KEYS: Final = struct.Struct("!H")
_WRONG_FORM: Final = (struct.error, ValueError, TypeError, IndexError)
"""What a head raises that ends early, or whose bytes are not those of any head."""
_text: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""The compact JSON encoder, made once; `json.dumps` would make one for each task."""
RUNS_ON: Final = 0.0
"""The stored `due_at` of a task that an executor runs, even if the task has ended and its executor has not stopped."""
_LENGTH: Final = struct.Struct("!Q")
_WITH_CAUSES: Final = 1 << 63
"""Bit in the first length of a dead letter's body that contains causes."""
NAME_BYTES_MAX: Final = 64
"""Maximum bytes of a queue's name in UTF-8, so that a head has at most 270 bytes."""
TASK_NAME_BYTES_MAX: Final = 128
"""Maximum bytes of a task's name in UTF-8, so that a head has at most 270 bytes."""
_NOT_IN_A_LIST: Final = re.compile("[,\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""The characters that a queue's name cannot have: the comma, control characters and line breaks."""

_NOT_IN_A_NAME: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_AT_AN_END: Final = rf"[^\s\ufeff{_NOT_IN_A_NAME}]"
TASK_NAME_SHAPE: Final = re.compile(rf"{_AT_AN_END}(?:[^{_NOT_IN_A_NAME}]*{_AT_AN_END})?")
"""The form of a task's name: no control character or line break, and no space at an end; JavaScript reads it alike."""


class UnreadableHead(ValueError):
    """A stored head or body has another form than this distq reads: a later version wrote it, or it is damaged."""


class NameTooLong(DistqError):
    """The name of a queue or of a task is longer than a head can hold."""

    code = "NAME_TOO_LONG"
    hint = f"Queue names have at most {NAME_BYTES_MAX} bytes, task names {TASK_NAME_BYTES_MAX}."


class Head(NamedTuple):
    """The fields of one stored head; instants are seconds since 1970."""

    state: int
    delivery: int
    failures: int
    lost: int
    submitted_at: float
    state_since_at: float
    due_at: float
    expires_at: float | None
    constraints: TaskConstraints
    kind: str
    queue: str
    name: str
    priority: int
    retries: int
    max_deliveries: int
    result_ttl_s: float
    time_limit_s: float | None
    requires: frozenset[str] = NO_LABELS
    cost: int = 1
    key_name: str = ""
    """Name of the key that submitted the task; '' if no limit of a key was set."""


def new_queue_name(value: object) -> str:
    """The name of a queue that does not exist yet: a list of queues, such as DISTQ_QUEUES, can contain it.

    Raises TypeError or ValueError. A queue that an earlier release made may have another name: it stays usable.
    """
    name = text("queue", value, NAME_BYTES_MAX)
    if _NOT_IN_A_LIST.search(name) or name != name.strip():
        raise ValueError(
            "the name of a queue has no comma, line break or control character, and no space at an end, so that "
            f"DISTQ_QUEUES can list it; not {shown(name)}"
        )
    return name


def new_task_name(field: str, value: object) -> str:
    """The name by which a program registers or submits a task; raises TypeError or ValueError.

    A task that an earlier release stored may have another name: it stays as it is.
    """
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"{field} is a text such as 'module:function', and not a blank one: {shown(value)}")
    name = text(field, value, TASK_NAME_BYTES_MAX)
    if not TASK_NAME_SHAPE.fullmatch(name):
        raise ValueError(
            f"{field} has no line break or control character, and no space at an end, as no worker has a function of "
            f"such a name; not {shown(name)}"
        )
    return name


def check_names(queue_name: str, name: str, requires: Iterable[str] = ()) -> None:
    """Raises NameTooLong if the name of the queue, the name of the task or the labels do not fit into a head."""
    if len(_LABELS_JOIN.join(requires).encode()) > LABELS_BYTES_MAX:
        raise NameTooLong(f"the labels that {shown(name)} requires have more than {LABELS_BYTES_MAX} bytes")
    if len(queue_name.encode()) > NAME_BYTES_MAX or len(name.encode()) > TASK_NAME_BYTES_MAX:
        raise NameTooLong(f"the name {shown(name)} or its queue's {shown(queue_name)} is too long")


def pack_envelope(envelope: Envelope) -> bytes:
    """The part of the head that all tasks of one envelope share; raises NameTooLong."""
    check_names(envelope.queue.name, envelope.name)
    queue, name, kind = (text.encode() for text in (envelope.queue.name, envelope.name, envelope.kind))
    limit_s = 0.0 if envelope.time_limit_s is None else envelope.time_limit_s
    labels, key_name = _LABELS_JOIN.join(sorted(envelope.requires)).encode(), envelope.key_tasks.name.encode()
    bits = (_REQUIRING if labels else 0) | (_COSTLY if envelope.cost > 1 else 0) | (_OF_KEY if key_name else 0)
    numbers = _ENVELOPE.pack(
        envelope.priority | bits,
        envelope.retries,
        envelope.max_deliveries,
        envelope.result_ttl_s,
        limit_s,
        len(kind),
        len(queue),
    )
    constraints = bytes((len(labels),)) + labels if labels else b""
    if envelope.cost > 1:
        constraints += _COST.pack(envelope.cost)
    if key_name:
        constraints += bytes((len(key_name),)) + key_name
    return numbers + constraints + kind + queue + name


def pack(
    envelope: Envelope,
    state: int,
    delivery: int,
    failures: int,
    lost: int,
    submitted_at: float,
    since: float,
    due_at: float,
    expires_at: float | None = None,
    constraints: TaskConstraints = NO_CONSTRAINTS,
) -> bytes:
    """Write the head of one task; `envelope.packed` must be set."""
    if expires_at is None and constraints is NO_CONSTRAINTS:
        return _FIXED.pack(VERSION, state, delivery, failures, lost, submitted_at, since, due_at) + envelope.packed
    fixed = _FIXED.pack(WITH_CONSTRAINTS, state, delivery, failures, lost, submitted_at, since, due_at)
    bits, parts = 0, b""
    if expires_at is not None:
        bits, parts = _EXPIRING, _EXPIRES.pack(expires_at)
    if constraints is not NO_CONSTRAINTS:
        keys = _text(constraints).encode()
        bits, parts = bits | _KEYED, parts + _KEYS.pack(len(keys)) + keys
    return fixed + bytes((bits,)) + parts + envelope.packed


Numbers = tuple[int, int, int, int, float, float, float]


class StoredEnvelope(NamedTuple):
    """The parts of a head; `numbers` are state, delivery, failures, lost, submitted_at, since and due_at."""

    numbers: Numbers
    expires_at: float | None
    constraints: TaskConstraints
    envelope: bytes


def split(head: bytes) -> StoredEnvelope:
    """Split a head into its parts; raises UnreadableHead."""
    try:
        parts = _split(head)
    except UnreadableHead:
        raise
    except (*_WRONG_FORM, RecursionError) as exc:
        raise UnreadableHead(f"a task head of {len(head)} bytes that cannot be read: {exc}") from exc
    if parts.numbers[0] > EXPIRED:
        raise UnreadableHead(f"a task head with the state {parts.numbers[0]}, this distq stores 0 to {EXPIRED}")
    if not isfinite(sum(parts.numbers[4:], 0.0 if parts.expires_at is None else parts.expires_at)):
        raise UnreadableHead("a task head with an instant that is no number")
    return parts


def _split(head: bytes) -> StoredEnvelope:
    version, *numbers = _FIXED.unpack_from(head)
    at = _FIXED.size
    if version == VERSION:
        return StoredEnvelope(tuple(numbers), None, NO_CONSTRAINTS, head[at:])
    bits = head[at] if version == WITH_CONSTRAINTS else -1
    if not 0 < bits <= _EXPIRING | _KEYED:
        raise UnreadableHead(f"a task head of version {version}, this distq reads {VERSION} and {WITH_CONSTRAINTS}")
    at += 1
    expires_at, constraints = None, NO_CONSTRAINTS
    if bits & _EXPIRING:
        (expires_at,) = _EXPIRES.unpack_from(head, at)
        at += _EXPIRES.size
    if bits & _KEYED:
        (length,) = _KEYS.unpack_from(head, at)
        at += _KEYS.size + length
        constraints = _constraints(*json.loads(head[at - length : at]))
    return StoredEnvelope(tuple(numbers), expires_at, constraints, head[at:])


def _constraints(
    concurrency_key: str,
    concurrency: int,
    unique: str,
    unique_for_s: float | None,
    after: Sequence[Any] | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> TaskConstraints:
    """Read the stored constraints; an older distq wrote none for dependencies or headers, so both have defaults."""
    known = tuple((name, text) for name, text in headers)
    depends_on = None if after is None else DependsOn(*after)
    texts = (concurrency_key, unique, *(part for header in known for part in header))
    numbers = (concurrency, 0 if depends_on is None else depends_on.first, 1 if depends_on is None else depends_on.size)
    if not (
        all(isinstance(one, str) for one in texts)
        and all(type(one) is int and 0 <= one <= KEY_MAX for one in numbers)
        and numbers[2] <= DEPENDENCIES_MAX
        and (unique_for_s is None or isinstance(unique_for_s, float | int))
    ):
        raise UnreadableHead("a task head with constraints of an unknown kind")
    return TaskConstraints(concurrency_key, concurrency, unique, unique_for_s, depends_on, known)


def unpack(head: bytes) -> Head:
    """Read a head; raises UnreadableHead."""
    parts = split(head)
    try:
        return _unpack(parts)
    except _WRONG_FORM as exc:
        raise UnreadableHead(f"a task head of {len(head)} bytes that cannot be read: {exc}") from exc


def _unpack(parts: StoredEnvelope) -> Head:
    (state, delivery, failures, lost, submitted_at, since, due_at), expires_at, constraints, envelope = parts
    priority, retries, max_deliveries, ttl_s, limit_s, kind_bytes, queue_bytes = _ENVELOPE.unpack_from(envelope)
    at, requires, cost, key_name = _ENVELOPE.size, NO_LABELS, 1, b""
    if priority & _REQUIRING:
        priority ^= _REQUIRING
        at += 1 + envelope[at]
        requires = frozenset(envelope[_ENVELOPE.size + 1 : at].decode().split(_LABELS_JOIN))
    if priority & _COSTLY:
        priority ^= _COSTLY
        (cost,) = _COST.unpack_from(envelope, at)
        at += _COST.size
    if priority & _OF_KEY:
        priority ^= _OF_KEY
        key_name = envelope[at + 1 : at + 1 + envelope[at]]
        at += 1 + len(key_name)
    if priority >= PRIORITIES:
        raise UnreadableHead(f"a task head with the priority {priority}, this distq stores 0 to {PRIORITIES - 1}")
    queue_at = at + kind_bytes
    kind, queue, name = (
        envelope[queue_at - kind_bytes : queue_at],
        envelope[queue_at : queue_at + queue_bytes],
        envelope[queue_at + queue_bytes :],
    )
    return Head(
        state,
        delivery,
        failures,
        lost,
        submitted_at,
        since,
        due_at,
        expires_at,
        constraints,
        kind.decode(),
        queue.decode(),
        name.decode(),
        priority,
        retries,
        max_deliveries,
        ttl_s,
        limit_s or None,
        requires,
        cost,
        key_name.decode(),
    )


class Dead(NamedTuple):
    """The contents of a dead letter's body."""

    arguments: bytes
    error: bytes
    causes: list[str]


def pack_dead(arguments: bytes, error: bytes, causes: Sequence[str] = ()) -> bytes:
    """The body of a dead letter: the arguments, the error of the last attempt, and the cause of each attempt's end.

    Without causes the format is the one that older versions of distq wrote.
    """
    if not causes:
        return _LENGTH.pack(len(arguments)) + arguments + error
    causes_bytes = "\0".join(cause.replace("\0", " ") for cause in causes).encode(errors="replace")
    return (
        _LENGTH.pack(len(arguments) | _WITH_CAUSES) + _LENGTH.pack(len(causes_bytes)) + causes_bytes + arguments + error
    )


def unpack_dead(body: bytes) -> Dead:
    """The arguments, the error and the causes of a dead letter's body; raises UnreadableHead."""
    try:
        (length,) = _LENGTH.unpack_from(body)
        at, causes = _LENGTH.size, []
        if length & _WITH_CAUSES:
            length ^= _WITH_CAUSES
            (causes_bytes,) = _LENGTH.unpack_from(body, at)
            at += _LENGTH.size + causes_bytes
            causes = body[at - causes_bytes : at].decode().split("\0")
    except _WRONG_FORM as exc:
        raise UnreadableHead(f"the body of a dead letter of {len(body)} bytes that cannot be read: {exc}") from exc
    return Dead(body[at : at + length], body[at + length :], causes)
