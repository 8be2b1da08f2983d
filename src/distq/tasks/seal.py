"""Sealed bodies: payloads, results, failures, stream parts and checkpoints that are signed, encrypted, or both.

A sealed body is a header, the content, and an HMAC-SHA256 of both. The header names the kind of the body, the keys, and
the seal's id: 16 bytes that its client makes for a task, and that everything which comes of the task bears again. What
the executor knows of a task otherwise (its queue, name and headers) is signed with it and not repeated in it. The
master keeps sealed bodies as any others, and needs no key.

Each use of a key has a key of its own, made from the secret: a signature is never valid as anything else. Contents are
encrypted by AES-256-GCM with a key for each seal, so that no number of tasks exhausts the nonces of one key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from distq.core.errors import DistqError
from distq.tasks.sealed import (
    ENCRYPTED,
    HEADER,
    KEY_ID_BYTES,
    MAC_BYTES,
    NO_KEY,
    SEAL_BYTES,
    SEALED,
    SIGNED,
    SINGLE,
    TAKES_FAILURES,
    VERSION,
    Seal,
    SealKind,
    SealRefused,
    encrypted_text,
    kind_text,
    split,
)

if TYPE_CHECKING:
    from distq.core.constraints import Headers

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEADER.size + MAC_BYTES + _NONCE_BYTES + _TAG_BYTES
"""Maximum bytes that a seal adds to a body, besides the seals of dependencies."""
_DOMAIN: Final = b"distq sealed body 1\0"
_LENGTHS: Final = struct.Struct("!QQ")
"""The lengths of two parts, so that no two ways to divide the same bytes have the same signature."""
_BLOCK_BYTES: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
"""The tables by which HMAC (RFC 2104) pads a key for its inner and its outer hash."""
INSTALL: Final = "pip install 'distq[encryption]'"


class EncryptionUnavailable(DistqError):
    """DISTQ_ENCRYPTION_KEY is set, and the library that encrypts is not installed."""

    code = "ENCRYPTION_UNAVAILABLE"
    hint = f"Install it: {INSTALL}."
    exit_code = 2


class SealSecrets(NamedTuple):
    """The secrets of a process; the first of each kind seals, and the others only open."""

    signing: tuple[bytes, ...] = ()
    encryption: tuple[bytes, ...] = ()
    accepts_unsigned: bool = False
    """Whether bodies without a signature are accepted although there is a signing key."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"<SealSecrets: {len(self.signing)} for signing, {len(self.encryption)} for encryption>"


class HasKeys(Protocol):
    """The settings of a client, or the configuration of an executor."""

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """DISTQ_SIGNING_KEY."""
        ...

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """DISTQ_ENCRYPTION_KEY."""
        ...

    @property
    def unsigned(self) -> str:
        """DISTQ_UNSIGNED."""
        ...


class HasCurrentKeys(Protocol):
    """Where the signing keys and the encryption keys are read again after their files have changed."""

    def recent(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The keys as they were a second ago at most; the same tuples as long as nothing has changed."""
        ...

    def now(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The keys after a look at their files."""
        ...


def sealer_of(given: HasKeys, current: HasCurrentKeys | None = None) -> Sealer | None:
    """Seals and opens with the keys that are given; None without any; raises EncryptionUnavailable.

    With `current` the sealer takes keys that have changed since.
    """
    if not (given.signing_keys or given.encryption_keys):
        return None
    return Sealer(SealSecrets(given.signing_keys, given.encryption_keys, given.unsigned == "accept"), current)


class DerivedKey(bytes):
    """A key for one use, which no text shows: not a traceback with local variables either."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"

    __str__ = __repr__


class MacKey:
    """Computes HMAC-SHA256 with one key. The two hashes of the padded key are made once: they took most of the time."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = DerivedKey(
            (key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        )
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def __repr__(self) -> str:
        return "<key>"

    def of(self, *parts: bytes) -> bytes:
        """The HMAC of the parts, one after the other."""
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return outer.digest()


class _Keys:
    """The keys of one kind, by their ids."""

    def __init__(self, secrets: Sequence[bytes], use: bytes) -> None:
        ids = [key_id_of(secret) for secret in secrets]
        self.by_id = {
            key_id: MacKey(_derived(secret, b"distq " + use)) for key_id, secret in zip(ids, secrets, strict=True)
        }
        self.first_id = ids[0] if ids else NO_KEY
        """The id of the key that seals."""
        self.first = self.by_id.get(self.first_id)


_NO_KEYS: Final = _Keys((), b"none")


class Sealer:
    """Seals and opens bodies with the keys of a process."""

    def __init__(self, secrets: SealSecrets, current: HasCurrentKeys | None = None) -> None:
        self._current = current
        self._secrets: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())
        self._signing = self._encryption = _NO_KEYS
        self._use(secrets.signing, secrets.encryption)
        self.demands_signatures = bool(secrets.signing) and not secrets.accepts_unsigned
        """Whether a body without a signature is refused."""
        self.encrypts = bool(secrets.encryption)
        self._cipher = _cipher_class() if secrets.encryption else None

    def _use(self, signing: tuple[bytes, ...], encryption: tuple[bytes, ...]) -> None:
        """Seal and open with these keys from now on."""
        if signing is self._secrets[0] and encryption is self._secrets[1]:
            return
        self._secrets = signing, encryption
        self._signing, self._encryption = _Keys(signing, b"signing 1"), _Keys(encryption, b"encryption 1")

    def _refresh(self) -> None:
        """Take the keys that their files have now, after a look at each file once a second."""
        if self._current is not None:
            self._use(*self._current.recent())

    def _key_of(self, find: Callable[[], _Keys], key_id: bytes) -> MacKey | None:
        """The key with that id; if it is not known here, the files are read: the other end may have done so before."""
        key = find().by_id.get(key_id)
        if key is None and self._current is not None:
            self._use(*self._current.now())
            key = find().by_id.get(key_id)
        return key

    def seal(self, seal: Seal, content: bytes, context: bytes = b"", *, repeatable: bool = False) -> bytes:
        """Seal a content: sign it if there is a signing key, and encrypt it if `seal.is_encrypted`.

        With `repeatable` the same content has the same bytes: a master compares the payloads of schedules.
        """
        self._refresh()
        signing, encryption = self._signing, self._encryption
        is_encrypted = seal.is_encrypted and self.encrypts
        flags = (
            (SIGNED if signing.first else 0)
            | (ENCRYPTED if is_encrypted else 0)
            | (SINGLE if seal.is_single else 0)
            | (TAKES_FAILURES if seal.takes_failures else 0)
        )
        header = HEADER.pack(
            SEALED,
            VERSION,
            seal.kind,
            flags,
            seal.seal_id,
            signing.first_id,
            encryption.first_id if is_encrypted else NO_KEY,
            seal.task_key,
            seal.number,
            len(seal.dependencies),
        ) + b"".join(seal.dependencies)
        if is_encrypted:
            assert self._cipher is not None
            assert encryption.first is not None
            key = DerivedKey(encryption.first.of(seal.seal_id))
            nonce = _derived(key, content)[:_NONCE_BYTES] if repeatable else os.urandom(_NONCE_BYTES)
            content = nonce + self._cipher(key).encrypt(nonce, content, _DOMAIN + header + context)
        if not signing.first:
            return header + content
        return b"".join((header, _mac(signing.first, header, context, content), content))

    def open(self, body: bytes, kinds: Collection[int], context: bytes = b"") -> Opened:
        """Open a body: check its signature, and decrypt it.

        Raises:
            SealRefused: the text is a clause that follows "it", such as "is not signed".
        """
        self._refresh()
        if body[:1] != SEALED:
            if self.demands_signatures:
                raise SealRefused("is not signed")
            return Opened(None, body)
        seal, signing_id, encryption_id, header, rest = split(body)
        if seal.kind not in kinds:
            raise SealRefused(f"is sealed as {kind_text(seal.kind)}")
        if seal.is_signed:
            mac, rest = rest[:MAC_BYTES], rest[MAC_BYTES:]
            if self._signing.by_id:
                key = self._key_of(lambda: self._signing, signing_id)
                if key is None:
                    raise SealRefused(
                        f"is signed with the key {signing_id.hex()}, which DISTQ_SIGNING_KEY does not have here"
                    )
                if not hmac.compare_digest(mac, _mac(key, header, context, rest)):
                    raise SealRefused("has a signature that does not fit: it was changed, or belongs to another task")
        elif self.demands_signatures:
            raise SealRefused("is not signed")
        return Opened(seal, self._decrypted(seal, encryption_id, header, context, rest) if seal.is_encrypted else rest)

    def _decrypted(self, seal: Seal, key_id: bytes, header: bytes, context: bytes, content: bytes) -> bytes:
        key = self._key_of(lambda: self._encryption, key_id)
        if key is None:
            raise SealRefused(encrypted_text(key_id))
        assert self._cipher is not None
        nonce, content = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
        try:
            opened: bytes = self._cipher(DerivedKey(key.of(seal.seal_id))).decrypt(
                nonce, content, _DOMAIN + header + context
            )
        except Exception as error:  # InvalidTag, or ValueError for too few bytes
            raise SealRefused("cannot be decrypted: it was changed, or belongs to another task") from error
        return opened

    def id_for(self, content: bytes, context: bytes) -> bytes:
        """The id of the seal of a schedule: the same for the same task and arguments."""
        self._refresh()
        key = self._signing.first or self._encryption.first
        assert key is not None
        return key.of(b"distq schedule 1\0", _LENGTHS.pack(len(context), len(content)), context, content)[:SEAL_BYTES]


class Opened(NamedTuple):
    """An opened body; `seal` is None if it was not sealed."""

    seal: Seal | None
    content: bytes


def new_seal_id() -> bytes:
    """The id of the seal of one task."""
    return os.urandom(SEAL_BYTES)


def key_id_of(secret: bytes) -> bytes:
    """The id by which sealed bodies name a key; it does not show the key."""
    return _derived(secret, b"distq key id 1")[:KEY_ID_BYTES]


def context_of(queue: str, name: str, headers: Headers = ()) -> bytes:
    """What a client signs of a task besides its payload, and a worker compares: its queue, name and headers."""
    return _context(queue, name, tuple(map(tuple, headers)) if headers else ())


@lru_cache(maxsize=1024)
def _context(queue: str, name: str, headers: tuple[Any, ...]) -> bytes:
    return json.dumps([queue, name, sorted(headers)], separators=(",", ":")).encode()


def _mac(key: MacKey, header: bytes, context: bytes, content: bytes) -> bytes:
    return key.of(b"".join((_DOMAIN, _LENGTHS.pack(len(header), len(context)), header, context)), content)


def _derived(key: bytes, use: bytes) -> bytes:
    return hmac.digest(key, use, hashlib.sha256)


def _cipher_class() -> Any:
    """AES-GCM of the library `cryptography`, an extra; raises EncryptionUnavailable."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - it is an extra
    except ImportError as error:
        raise EncryptionUnavailable(
            "DISTQ_ENCRYPTION_KEY is set, and the library cryptography is not installed."
        ) from error
    return AESGCM


def sealed_schedule(sealer: Sealer, definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition of a schedule, as it travels, with a sealed payload: the same bytes for the same schedule."""
    queue, name = definition["envelope"][:2]
    constraints = definition["more"]
    context = context_of(queue, name, constraints[6] if constraints is not None and len(constraints) > 6 else ())
    body = definition["body"]
    seal = Seal(SealKind.SCHEDULE, sealer.id_for(body, context), is_encrypted=sealer.encrypts)
    return {**definition, "body": sealer.seal(seal, body, context, repeatable=True)}
