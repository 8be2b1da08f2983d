"""The layout of sealed bodies, for every process that gets one, also without keys; `distq.tasks.seal` has the keys.

A sealed body is a header, the ids of the seals of its task's dependencies, a signature if it is signed, and the
content.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from distq.tasks.task_error import TaskError

SEALED: Final = b"\xd5"
"""The first byte of a sealed body, with which neither a pickle nor a JSON text begins."""
VERSION: Final = 1
SEAL_BYTES: Final = 16
"""Bytes of a seal's id."""
KEY_ID_BYTES: Final = 8
NO_KEY: Final = bytes(KEY_ID_BYTES)
HEADER: Final = struct.Struct("!cBBB16s8s8sQII")
"""Mark, version, kind, flags, seal's id, ids of the signing and the encryption key, task, number of a stream part, and
how many seals of dependencies follow."""
MAC_BYTES: Final = 32
SIGNED, ENCRYPTED, SINGLE, TAKES_FAILURES = 1, 2, 4, 8
"""Flags of a header."""


class SealRefused(TaskError):
    """A body is not signed, has a signature that does not fit, or is encrypted with a key that this process lacks."""

    code = "SEAL_REFUSED"


class SealKind(IntEnum):
    """What a sealed body is; a body of one kind is never taken for one of another."""

    TASK = 1
    SCHEDULE = 2
    """The payload of a schedule, which its master submits again and again."""
    RESULT = 3
    FAILURE = 4
    PART = 5
    CHECKPOINT = 6


PAYLOADS: Final = (SealKind.TASK, SealKind.SCHEDULE)
_NAMES: Final = {
    SealKind.TASK: "the payload of a task",
    SealKind.SCHEDULE: "the payload of a schedule",
    SealKind.RESULT: "a result",
    SealKind.FAILURE: "a failure",
    SealKind.PART: "a part of a stream",
    SealKind.CHECKPOINT: "a checkpoint",
}


class Seal(NamedTuple):
    """What a header says of its body."""

    kind: int
    seal_id: bytes
    task_key: int = 0
    """The task's key at the master; 0 in a payload, whose client does not know it yet."""
    number: int = 0
    """The number of a stream part."""
    dependencies: tuple[bytes, ...] = ()
    """The ids of the seals of the tasks that this one depends on."""
    is_single: bool = False
    """Whether the task takes the result of its dependency as one argument, not as a list."""
    takes_failures: bool = False
    """Whether the task runs although a dependency has failed."""
    is_encrypted: bool = False
    is_signed: bool = False


class SplitBody(NamedTuple):
    """A sealed body in its parts, of which nothing is checked."""

    seal: Seal
    signing_id: bytes
    encryption_id: bytes
    header: bytes
    """The header with the seals of dependencies, as bytes."""
    rest: bytes
    """The signature, if there is one, and the content."""


def content_of(body: bytes) -> bytes:
    """The content of a body, in a process without keys, or one that only shows it: no signature is checked.

    Raises:
        SealRefused: the body is encrypted, or its seal is cut off.
    """
    if body[:1] != SEALED:
        return body
    parts = split(body)
    if parts.seal.is_encrypted:
        raise SealRefused(encrypted_text(parts.encryption_id))
    return parts.rest[MAC_BYTES:] if parts.seal.is_signed else parts.rest


def shown_content(body: bytes) -> bytes | None:
    """The content of a body, for a process that only shows it; None if it is encrypted."""
    try:
        return content_of(body)
    except SealRefused:
        return None


def encrypted_text(key_id: bytes) -> str:
    """Why a body cannot be read here, as a clause that follows "it"."""
    return f"is encrypted with the key {key_id.hex()}, which DISTQ_ENCRYPTION_KEY does not have here"


def split(body: bytes) -> SplitBody:
    """Divide a sealed body; raises SealRefused, whose text is a clause that follows "it"."""
    if len(body) < HEADER.size:
        raise SealRefused("has a seal that is cut off")
    _, version, kind, flags, seal_id, signing_id, encryption_id, task_key, number, count = HEADER.unpack_from(body)
    if version != VERSION:
        raise SealRefused(f"has a seal of version {version}, and this process reads version {VERSION}: upgrade it")
    end = HEADER.size + count * SEAL_BYTES
    if len(body) < end:
        raise SealRefused("has a seal that is cut off")
    dependencies = tuple([body[at : at + SEAL_BYTES] for at in range(HEADER.size, end, SEAL_BYTES)]) if count else ()
    seal = Seal(
        kind,
        seal_id,
        task_key,
        number,
        dependencies,
        bool(flags & SINGLE),
        bool(flags & TAKES_FAILURES),
        bool(flags & ENCRYPTED),
        bool(flags & SIGNED),
    )
    return SplitBody(seal, signing_id, encryption_id, body[:end], body[end:])


def kind_text(kind: int) -> str:
    """What a sealed body of that kind is, in words."""
    return _NAMES.get(SealKind(kind), "") if kind in _NAMES else f"something of the unknown kind {kind}"
