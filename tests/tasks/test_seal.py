"""Seals: what one process has sealed another opens, and nothing else is taken for it."""

from __future__ import annotations

import hmac
import pickle
import sys
import traceback
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distq.settings.authkey import Authkey
from distq.tasks.seal import (
    OVERHEAD_BYTES,
    EncryptionUnavailable,
    MacKey,
    Sealer,
    SealSecrets,
    context_of,
    key_id_of,
    new_seal_id,
    sealed_schedule,
    sealer_of,
)
from distq.tasks.sealed import (
    ENCRYPTED,
    HEADER,
    PAYLOADS,
    SEAL_BYTES,
    SEALED,
    VERSION,
    Seal,
    SealKind,
    SealRefused,
    content_of,
    shown_content,
    split,
)

OLD, NEW, OTHER = (b"a key of the tests: " + name for name in (b"old", b"new", b"other"))
SIGNING, ENCRYPTING, BOTH = (
    SealSecrets((OLD,)),
    SealSecrets(encryption=(OLD,)),
    SealSecrets((OLD,), (NEW,)),
)
WAYS = {"signed": SIGNING, "encrypted": ENCRYPTING, "both": BOTH}
CONTEXT = context_of("mail", "send", (("tenant", "acme"),))
CONTENT = b"the content of a body"
FLAGS_AT = 3
"""The place of the flags in a header."""
ID, OTHER_ID = b"i" * SEAL_BYTES, b"o" * SEAL_BYTES

ways = st.sampled_from([SIGNING, ENCRYPTING, BOTH])
contents = st.binary(max_size=300)
ids = st.binary(min_size=SEAL_BYTES, max_size=SEAL_BYTES)
kinds = st.sampled_from(list(SealKind))


def seal_of(secrets: SealSecrets, kind: int = SealKind.TASK, seal_id: bytes = ID, **fields: Any) -> Seal:
    """Return a seal as a process with these secrets makes it."""
    return Seal(kind, seal_id, is_encrypted=bool(secrets.encryption), **fields)


def sealed(secrets: SealSecrets, content: bytes = CONTENT, context: bytes = CONTEXT, **fields: Any) -> bytes:
    """Return a sealed body."""
    return Sealer(secrets).seal(seal_of(secrets, **fields), content, context)


def opened(secrets: SealSecrets, body: bytes, context: bytes = CONTEXT, kinds: tuple[int, ...] = PAYLOADS) -> bytes:
    """Return the content of a body."""
    return Sealer(secrets).open(body, kinds, context).content


# -- what is opened ----------------------------------------------------------------------------------


@given(
    ways,
    contents,
    ids,
    kinds,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(ids, max_size=4),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=50),
)
def test_a_sealed_body_is_opened(
    secrets: SealSecrets,
    content: bytes,
    seal_id: bytes,
    kind: SealKind,
    task_key: int,
    number: int,
    dependencies: list[bytes],
    is_single: bool,
    takes_failures: bool,
    context: bytes,
) -> None:
    """With all that the seal says of it, and at most as many more bytes as the limit of results leaves free."""
    seal = Seal(
        kind, seal_id, task_key, number, tuple(dependencies), is_single, takes_failures, bool(secrets.encryption)
    )
    body = Sealer(secrets).seal(seal, content, context)
    assert len(body) <= len(content) + OVERHEAD_BYTES + len(dependencies) * SEAL_BYTES
    found, text = Sealer(secrets).open(body, (kind,), context)
    assert text == content
    assert found == seal._replace(is_signed=bool(secrets.signing))


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("size", [0, 1, 64 << 20])
def test_empty_and_huge_bodies_are_sealed(secrets: SealSecrets, size: int) -> None:
    """The size has no influence."""
    content = bytes(size)
    body = sealed(secrets, content)
    assert opened(secrets, body) == content


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
def test_an_old_key_is_accepted_beside_the_new_one(secrets: SealSecrets) -> None:
    """During a rotation, in both directions; the first key seals."""
    both = SealSecrets(
        (NEW, *secrets.signing) if secrets.signing else (), (OTHER, *secrets.encryption) if secrets.encryption else ()
    )
    assert opened(both, sealed(secrets)) == CONTENT
    newest = sealed(both)
    with pytest.raises(SealRefused):
        opened(secrets, newest)
    parts = split(newest)
    assert parts.signing_id == (key_id_of(NEW) if secrets.signing else bytes(8))
    assert parts.encryption_id == (key_id_of(OTHER) if secrets.encryption else bytes(8))


def test_a_schedule_is_sealed_to_the_same_bytes_and_a_task_to_others() -> None:
    """A master compares the payloads of schedules; equal arguments of tasks must not be recognised."""
    sealer = Sealer(BOTH)
    definition = {"envelope": ("mail", "send"), "more": None, "body": CONTENT, "every": 5}
    first, again = sealed_schedule(sealer, definition), sealed_schedule(Sealer(BOTH), definition)
    assert first == again
    other = sealed_schedule(sealer, {**definition, "body": CONTENT + b"!"})
    assert split(other["body"]).seal.seal_id != split(first["body"]).seal.seal_id
    elsewhere = sealed_schedule(sealer, {**definition, "envelope": ("post", "send")})
    assert split(elsewhere["body"]).seal.seal_id != split(first["body"]).seal.seal_id
    tasks = {sealed(ENCRYPTING)[HEADER.size :] for _ in range(20)}
    assert len(tasks) == 20
    assert len({new_seal_id() for _ in range(100)}) == 100


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
@given(data=st.data())
def test_a_body_with_a_flipped_bit_is_refused(secrets: SealSecrets, data: st.DataObject) -> None:
    """Whichever it is: of the header, of the seals of dependencies, of the signature or of the content."""
    body = sealed(secrets, dependencies=(OTHER_ID, ID))
    at = data.draw(st.integers(0, len(body) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]
    if not secrets.signing and (at == 0 or (body[at] ^ changed[at] == ENCRYPTED and at == FLAGS_AT)):
        assert CONTENT not in opened(secrets, changed)  # a process that only encrypts reads plain bodies too
    else:
        with pytest.raises(SealRefused):
            opened(secrets, changed)


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
def test_each_changed_byte_is_refused(secrets: SealSecrets) -> None:
    """Every byte, one after the other, so that no part of a body is left out."""
    body = sealed(secrets)
    for at in range(1, len(body)):
        changed = bytearray(body)
        changed[at] ^= 0xFF if at != FLAGS_AT else 0xFF ^ ENCRYPTED
        with pytest.raises(SealRefused):
            opened(secrets, bytes(changed))


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
def test_a_body_of_which_bytes_are_missing_or_added_is_refused(secrets: SealSecrets) -> None:
    """At every length; in front, too."""
    body = sealed(secrets)
    for end in range(1, len(body)):
        with pytest.raises(SealRefused):
            opened(secrets, body[:end])
    for more in (b"\0", body, bytes(100)):
        with pytest.raises(SealRefused):
            opened(secrets, body + more)
    with pytest.raises(SealRefused):
        opened(secrets, SEALED + body)


@given(ways, contents, contents, ids, ids)
def test_no_part_of_one_body_fits_another(
    secrets: SealSecrets, one: bytes, two: bytes, one_id: bytes, two_id: bytes
) -> None:
    """The header of one and the rest of another, both sealed with the same key, are refused."""
    assume((one_id, one) != (two_id, two) and one_id != two_id)
    first, second = (sealed(secrets, content, seal_id=seal_id) for content, seal_id in ((one, one_id), (two, two_id)))
    for mixed in (first[: HEADER.size] + second[HEADER.size :], second[: HEADER.size] + first[HEADER.size :]):
        with pytest.raises(SealRefused):
            opened(secrets, mixed)


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "context",
    [
        context_of("post", "send", (("tenant", "acme"),)),
        context_of("mail", "sent", (("tenant", "acme"),)),
        context_of("mail", "send", (("tenant", "other"),)),
        context_of("mail", "send"),
        context_of("mail", "send", (("tenant", "acme"), ("more", "x"))),
        context_of('mail","send', "", (("tenant", "acme"),)),
        b"",
    ],
)
def test_a_body_of_another_task_is_refused(secrets: SealSecrets, context: bytes) -> None:
    """With another queue, name, or header."""
    body = sealed(secrets)
    with pytest.raises(SealRefused, match="it was changed, or belongs to another task"):
        opened(secrets, body, context)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_tasks_have_two_contexts(one: tuple[str, str], two: tuple[str, str]) -> None:
    """Whatever characters their queues and names have."""
    assert (context_of(*one) == context_of(*two)) == (one == two)


def test_the_order_of_headers_has_no_influence() -> None:
    """A master keeps them as a mapping."""
    pairs = (("a", "1"), ("b", "2"))
    assert context_of("q", "n", pairs) == context_of("q", "n", pairs[::-1])


@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", SealKind)
def test_a_body_of_one_kind_is_taken_for_none_of_another(secrets: SealSecrets, kind: SealKind) -> None:
    """A result is no payload, a checkpoint no part of a stream, and so on; nor with another kind in its header."""
    body = sealed(secrets, kind=kind)
    others = tuple(other for other in SealKind if other is not kind)
    with pytest.raises(SealRefused, match="is sealed as"):
        opened(secrets, body, kinds=others)
    for other in others:
        renamed = body[:2] + bytes([other]) + body[3:]
        with pytest.raises(SealRefused):
            opened(secrets, renamed, kinds=others)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"task_key": 1}, {"task_key": 2}),
        ({"number": 1}, {"number": 2}),
        ({"is_single": True}, {"is_single": False}),
        ({"takes_failures": True}, {"takes_failures": False}),
        ({"seal_id": ID}, {"seal_id": OTHER_ID}),
        ({"dependencies": (ID, OTHER_ID)}, {"dependencies": (OTHER_ID, ID)}),
        ({"dependencies": (ID,)}, {"dependencies": (ID, ID)}),
        ({"dependencies": (ID,)}, {"dependencies": ()}),
    ],
)
@pytest.mark.parametrize("secrets", WAYS.values(), ids=WAYS)
def test_the_facts_in_a_seal_cannot_be_changed(
    secrets: SealSecrets, fields: dict[str, Any], changed: dict[str, Any]
) -> None:
    """The header of a body that says other things, before the signature and content of the one that was sealed."""
    body, other = sealed(secrets, **fields), sealed(secrets, **changed)
    header = split(other).header
    with pytest.raises(SealRefused):
        opened(secrets, header + split(body).rest)


def test_a_body_without_a_signature_is_refused_by_a_process_with_a_signing_key() -> None:
    """Plain, or encrypted with the right key; or with its flag for signatures removed."""
    for body in (b"plain", b"", b"{}", pickle.dumps((1,)), sealed(SealSecrets(encryption=(NEW,)))):
        with pytest.raises(SealRefused, match="is not signed"):
            opened(BOTH, body)
    signed = sealed(SIGNING)
    with pytest.raises(SealRefused, match="is not signed"):
        opened(SIGNING, signed[:3] + b"\0" + signed[4:])


def test_a_process_that_accepts_unsigned_bodies_still_checks_signatures() -> None:
    """DISTQ_UNSIGNED=accept is for bodies without a signature, not for those with a wrong one."""
    accepting = SIGNING._replace(accepts_unsigned=True)
    assert opened(accepting, b"plain") == b"plain"
    assert opened(accepting, sealed(SIGNING)) == CONTENT
    for wrong in (sealed(SIGNING) + b"!", sealed(SealSecrets((OTHER,)))):
        with pytest.raises(SealRefused):
            opened(accepting, wrong)


def test_an_unknown_key_is_named_by_its_id_and_never_shown() -> None:
    """The id is the same in every process, and says nothing about the key."""
    for secrets, setting in ((SIGNING, "DISTQ_SIGNING_KEY"), (ENCRYPTING, "DISTQ_ENCRYPTION_KEY")):
        other = SealSecrets(tuple(OTHER for _ in secrets.signing), tuple(OTHER for _ in secrets.encryption))
        with pytest.raises(SealRefused, match=f"with the key {key_id_of(OLD).hex()}, which {setting}") as refused:
            opened(other, sealed(secrets))
        assert OLD.decode() not in str(refused.value)
        assert OTHER.decode() not in repr(other)
    assert key_id_of(OLD) not in OLD
    assert key_id_of(OLD) != key_id_of(NEW)


def test_each_use_of_a_secret_has_a_key_of_its_own() -> None:
    """One text for signing and encrypting gives two keys, neither of which is the text."""
    sealer = Sealer(SealSecrets((OLD,), (OLD,)))
    signing, encrypting = (keys.first and keys.first.of(b"") for keys in (sealer._signing, sealer._encryption))
    assert len({OLD, signing, encrypting, key_id_of(OLD)}) == 4


def test_no_traceback_shows_a_key() -> None:
    """Nor the keys that are derived from it, with which a reader of the traceback could sign as well."""
    secrets = SealSecrets((Authkey(OLD),), (Authkey(NEW),))
    sealer = Sealer(secrets)
    derived = [hmac.digest(OLD, b"distq signing 1", "sha256"), hmac.digest(NEW, b"distq encryption 1", "sha256")]
    assert next(iter(sealer._signing.by_id.values())).of(b"") == hmac.digest(derived[0], b"", "sha256")
    body = sealed(secrets)
    for changed in (body + b"!", sealed(SealSecrets(encryption=(NEW,))) + b"!"):
        with pytest.raises(SealRefused) as refused:
            Sealer(secrets._replace(accepts_unsigned=True)).open(changed, PAYLOADS, CONTEXT)
        frames = traceback.TracebackException.from_exception(refused.value, capture_locals=True).stack
        text = "".join(str(frame.locals) for frame in frames if frame.filename.endswith("tasks/seal.py"))
        assert "<key>" in text
        for key in (OLD, NEW, *derived):
            assert repr(key)[2:-1].replace("\\", "\\\\") not in text
            assert repr(key)[2:-1] not in text


def test_a_body_of_a_later_version_asks_for_an_upgrade() -> None:
    """And one of an unknown kind is refused, whatever the caller expects."""
    body = sealed(SIGNING)
    with pytest.raises(SealRefused, match=f"has a seal of version {VERSION + 1}, .* upgrade"):
        opened(SIGNING, body[:1] + bytes([VERSION + 1]) + body[2:])
    with pytest.raises(SealRefused, match="something of the unknown kind 77"):
        opened(SIGNING, body[:2] + bytes([77]) + body[3:])


@given(st.binary(max_size=200))
def test_any_bytes_are_opened_or_refused(data: bytes) -> None:
    """No other error, and never more than the bytes that are there, however many dependencies they claim."""
    for body in (data, SEALED + data, SEALED + bytes([VERSION]) + data):
        for secrets in (SealSecrets(), *WAYS.values()):
            try:
                found = opened(secrets, body, kinds=tuple(SealKind))
            except SealRefused:
                continue
            assert body.endswith(found)
            assert not secrets.signing


# -- processes without the keys ----------------------------------------------------------------------


def test_a_process_without_keys_reads_what_is_only_signed() -> None:
    """It has no way to check it; an encrypted body is shown as such."""
    assert content_of(sealed(SIGNING)) == CONTENT
    assert content_of(b"plain") == b"plain"
    assert opened(SealSecrets(), sealed(SIGNING)) == CONTENT
    assert shown_content(sealed(BOTH)) is None
    with pytest.raises(SealRefused, match="is encrypted with the key"):
        content_of(sealed(BOTH))
    with pytest.raises(SealRefused, match="cut off"):
        content_of(sealed(SIGNING)[: HEADER.size - 1])


def test_encryption_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And signing goes on without it."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    Sealer(SIGNING)
    with pytest.raises(EncryptionUnavailable, match="the library cryptography is not installed"):
        Sealer(ENCRYPTING)


# -- keys that change --------------------------------------------------------------------------------


class Files:
    """Key files that a test changes."""

    signing_keys: tuple[bytes, ...] = (OLD,)
    encryption_keys: tuple[bytes, ...] = (OLD,)
    unsigned = "refuse"

    def __init__(self) -> None:
        self.seen = self.signing_keys, self.encryption_keys

    def recent(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the keys as they were at the last look."""
        return self.seen

    def now(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the keys after a look."""
        self.seen = self.signing_keys, self.encryption_keys
        return self.seen


def test_a_sealer_takes_the_keys_that_its_files_have_now() -> None:
    """It seals with a new key from the next look on, and looks at once for a key that it does not know."""
    files = Files()
    sealer = sealer_of(files, files)
    assert sealer is not None
    changed = SealSecrets((NEW, OLD), (NEW, OLD))
    files.signing_keys, files.encryption_keys = changed.signing, changed.encryption
    assert split(sealer.seal(seal_of(BOTH), CONTENT)).signing_id == key_id_of(OLD)
    assert sealer.open(sealed(changed), PAYLOADS, CONTEXT).content == CONTENT
    assert split(sealer.seal(seal_of(BOTH), CONTENT)).signing_id == key_id_of(NEW)
    files.signing_keys = files.encryption_keys = (NEW,)
    files.now()
    with pytest.raises(SealRefused, match="does not have here"):
        sealer.open(sealed(SealSecrets((OLD,), (OLD,))), PAYLOADS, CONTEXT)


def test_a_process_without_keys_has_no_sealer() -> None:
    """Its bodies cost one comparison."""
    files = Files()
    files.signing_keys = files.encryption_keys = ()
    assert sealer_of(files, files) is None


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 200])
def test_a_kept_key_makes_the_codes_of_the_standard_library(size: int) -> None:
    """HMAC-SHA256, for keys of every length and parts of every number; a code does not change the next one."""
    secret = bytes(range(size))
    key = MacKey(secret)
    for parts in ((), (b"",), (b"one",), (b"one", b"two" * 5_000, b"")):
        assert key.of(*parts) == hmac.digest(secret, b"".join(parts), "sha256")
