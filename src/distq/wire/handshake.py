"""The mutual proof of a shared key, as `multiprocessing.connection` does it since 3.0 and since 3.12.

The listening end sends first: `#CHALLENGE#` and random bytes. The other end answers with an HMAC over those
bytes and receives `#WELCOME#` or `#FAILURE#`; then the two ends change roles and repeat this. Since 3.12 a challenge
names a digest, `{sha256}`, and so does the answer; the MAC covers that name too. Older ends take the name for random
bytes and answer with a bare HMAC-MD5 of 16 bytes; only that length distinguishes the old answer from a new one. So one
form of challenge serves every version, and a challenge of exactly 20 bytes requires the old form of answer.
"""

import hmac
from collections.abc import Sequence
from enum import Enum, auto

from distq.wire.errors import AuthenticationFailed, TlsFailed

# The standard library's own limit: a peer can make this end store at most one such frame before it proves the key.
HANDSHAKE_FRAME_BYTES_MAX = 256

CHALLENGE = b"#CHALLENGE#"
WELCOME = b"#WELCOME#"
FAILURE = b"#FAILURE#"

# What a port with TLS sends to a peer that waits for the challenge. A program of the standard library shows the bytes
# in its error, so they are a text; like every frame of a handshake it has at most 256 bytes.
TLS_ONLY = (
    b"#TLS# This port accepts only TLS. A distq program: set DISTQ_TLS_CA. A program of Python's standard library: "
    b"run `distq tunnel` beside it, or use the master's DISTQ_LOOPBACK_BIND."
)

DIGESTS = frozenset({"md5", "sha256", "sha384", "sha3_256", "sha3_384"})
PREFERRED_DIGEST = "sha256"

NONCE_BYTES_MIN = 20
NONCE_BYTES_MAX = 128

_DIGEST_NAME_BYTES_MAX = max(map(len, DIGESTS))
_OLD_CHALLENGE_BYTES = 20
_OLD_ANSWER_BYTES = 16


class _Step(Enum):
    CHALLENGE = auto()
    ANSWER = auto()
    WELCOME = auto()
    DONE = auto()


def _challenge(nonce: bytes) -> bytes:
    if not NONCE_BYTES_MIN <= len(nonce) <= NONCE_BYTES_MAX:
        raise ValueError(f"a nonce has {NONCE_BYTES_MIN} to {NONCE_BYTES_MAX} bytes, not {len(nonce)}")
    return b"{%s}%s" % (PREFERRED_DIGEST.encode(), nonce)


def _named_digest(message: bytes) -> tuple[str, bytes]:
    """Split `{digest}rest`; raise AuthenticationFailed for anything else."""
    end = message.find(b"}", 1, _DIGEST_NAME_BYTES_MAX + 2)
    if message[:1] == b"{" and end > 0:
        name = message[1:end].decode("ascii", "replace")
        if name in DIGESTS:
            return name, message[end + 1 :]
    raise AuthenticationFailed("The other end named no digest that is known here.", reply=FAILURE)


def _mac(key: bytes, message: bytes, digest: str) -> bytes:
    try:
        return hmac.digest(key, message, digest)
    except ValueError:
        raise AuthenticationFailed(f"The digest {digest} is not available on this machine.", FAILURE) from None


def _answer(key: bytes, challenge: bytes) -> bytes:
    if len(challenge) < _OLD_CHALLENGE_BYTES:
        raise AuthenticationFailed("The other end's challenge is too short.")
    if len(challenge) == _OLD_CHALLENGE_BYTES:
        return _mac(key, challenge, "md5")
    digest, _ = _named_digest(challenge)
    return b"{%s}%s" % (digest.encode(), _mac(key, challenge, digest))


def _proved(keys: Sequence[bytes], challenge: bytes, answer: bytes) -> bytes | None:
    """Return the one of `keys` that made the answer, None if none did."""
    digest, mac = ("md5", answer) if len(answer) == _OLD_ANSWER_BYTES else _named_digest(answer)
    found = None
    for key in keys:
        # All keys are tried, so that the time taken does not show which one was right.
        if hmac.compare_digest(_mac(key, challenge, digest), mac) and found is None:
            found = key
    return found


def _cut_challenge(body: bytes) -> bytes:
    if body.startswith(b"#TLS#"):
        raise TlsFailed("It accepts only TLS. Set DISTQ_TLS_CA to the file of the CA that has signed its certificate.")
    if not body.startswith(CHALLENGE):
        raise AuthenticationFailed("The other end sent no challenge: it speaks something else.")
    return body[len(CHALLENGE) :]


class ServerHandshake:
    """The listening end: it requires a proof of any of several keys, then proves the key that the other end used."""

    def __init__(self, keys: Sequence[bytes], nonce: bytes) -> None:
        if not keys or not all(keys):
            raise ValueError("at least one key is needed, and none may be empty")
        self._keys = tuple(keys)
        self._challenge = _challenge(nonce)
        self._key = b""
        self._step = _Step.ANSWER

    @property
    def done(self) -> bool:
        """Whether both ends have proved the key."""
        return self._step is _Step.DONE

    @property
    def key(self) -> bytes:
        """The one of the keys that the other end has proved, empty before."""
        return self._key

    def start(self) -> bytes:
        """Return the body to send first: the challenge of this end."""
        return CHALLENGE + self._challenge

    def receive(self, body: bytes) -> list[bytes]:
        """Take one frame's body, return the bodies to send.

        Raises:
            AuthenticationFailed: the proof is wrong, or this is no handshake.
        """
        match self._step:
            case _Step.ANSWER:
                key = _proved(self._keys, self._challenge, body)
                if key is None:
                    raise AuthenticationFailed("The other end has a different authkey.", reply=FAILURE)
                self._key = key
                self._step = _Step.CHALLENGE
                return [WELCOME]
            case _Step.CHALLENGE:
                answer = _answer(self._key, _cut_challenge(body))
                self._step = _Step.WELCOME
                return [answer]
            case _Step.WELCOME:
                if body != WELCOME:
                    raise AuthenticationFailed("The other end did not accept our proof of the authkey.")
                self._step = _Step.DONE
                return []
            case _Step.DONE:
                raise ValueError("the handshake is over")


class ClientHandshake:
    """The dialling end: it proves its key, then requires the same proof."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        if not key:
            raise ValueError("a key is needed, and it may not be empty")
        self._key = key
        self._challenge = _challenge(nonce)
        self._step = _Step.CHALLENGE

    @property
    def done(self) -> bool:
        """Whether both ends have proved the key."""
        return self._step is _Step.DONE

    def receive(self, body: bytes) -> list[bytes]:
        """Take one frame's body, return the bodies to send; the other end sends the first frame.

        Raises:
            AuthenticationFailed: the other end has a different key, or this is no handshake.
        """
        match self._step:
            case _Step.CHALLENGE:
                answer = _answer(self._key, _cut_challenge(body))
                self._step = _Step.WELCOME
                return [answer]
            case _Step.WELCOME:
                if body != WELCOME:
                    raise AuthenticationFailed("The other end did not accept the authkey.")
                self._step = _Step.ANSWER
                return [CHALLENGE + self._challenge]
            case _Step.ANSWER:
                if _proved((self._key,), self._challenge, body) is None:
                    raise AuthenticationFailed("The other end has a different authkey.", reply=FAILURE)
                self._step = _Step.DONE
                return [WELCOME]
            case _Step.DONE:
                raise ValueError("the handshake is over")
