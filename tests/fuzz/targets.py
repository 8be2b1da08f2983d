"""What the fuzzer calls: each target reads one input as the master does, and fails unless it is read or refused.

A target uses no socket, starts nothing and keeps nothing, so that it runs many thousand inputs in a second, and an
input alone shows what it showed before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from starlette.requests import Request
from tests.fuzz.values import Source
from tests.wire.reading import all_events

from distq.core import head
from distq.core.checkpoints import CURSORS
from distq.core.errors import DistqError
from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.policy import POLICIES
from distq.core.registry import Defaults, Registry
from distq.core.schedule import SCHEDULES
from distq.core.stream_parts import PARTS
from distq.net.keyring import KeyRing
from distq.protocol.authority import Authority
from distq.protocol.exchange import read_exchange
from distq.protocol.heartbeat import read_report
from distq.protocol.hello import read_executor_hello, read_greeting, read_hello, read_worker_hello
from distq.protocol.schedule import read_definition
from distq.protocol.submit import read_submit
from distq.settings import Role, SettingsError, kinds, load
from distq.settings.authkey import KEY_LENGTH_MIN, check_authkeys, parse_authkeys
from distq.settings.role_keys import NamedKey, aged, parse_role_keys
from distq.settings.table import ROWS
from distq.settings.text_file import decode_text
from distq.tasks.seal import Sealer, SealSecrets, context_of
from distq.tasks.sealed import SealKind, SealRefused, content_of
from distq.web.bearer import BearerKeys, peer_of
from distq.web.page.session import Sessions, check_same_origin, proof_of
from distq.web.problems import Problem
from distq.web.task_order import read_order
from distq.wire.errors import AuthenticationFailed, BadCall, FrameTooLarge
from distq.wire.framing import Framer, pack
from distq.wire.handshake import ClientHandshake, ServerHandshake
from distq.wire.inert import InertCall, read_call, read_inert
from distq.wire.server_reader import Closed, PeerRefused, Send, ServerReader

KEY: Final = b"a key that the inputs do not contain"
NONCE: Final = b"n" * 20
FRAME_BYTES_MAX: Final = 1 << 16
NOW: Final = 1_000_000.0
SEVERAL: Final = b"\n--\n"
"""What separates the settings of one input."""


def framing(data: bytes) -> None:
    """Cut bytes into frames, in one piece and in pieces: the frames are the same."""
    step = 1 + data[0] % 64 if data else 1
    whole, pieces = _frames(data[1:], FRAME_BYTES_MAX), _frames(data[1:], step)
    assert whole == pieces, (whole, pieces)


def _frames(data: bytes, step: int) -> tuple[list[bytes], str]:
    framer = Framer(FRAME_BYTES_MAX)
    framer.takes_split = True
    frames: list[bytes] = []
    try:
        for at in range(0, len(data), step):
            framer.push(data[at : at + step])
            while (frame := framer.pull()) is not None:
                frames.append(frame)
                assert len(frame) <= FRAME_BYTES_MAX
    except FrameTooLarge as exc:
        return frames, str(exc)
    return frames, ""


def handshake(data: bytes) -> None:
    """Prove nothing: no bytes of a peer without the key end the handshake, at either end."""
    source = Source(data)
    for end in (ServerHandshake((KEY, b"another"), NONCE), ClientHandshake(KEY, NONCE)):
        with contextlib.suppress(AuthenticationFailed):
            for _ in range(4):
                end.receive(source.take(source.number()))
        assert not end.done


def server(data: bytes) -> None:
    """Read what a peer with the key sends, in pieces: each event is a call, a refusal, or the end."""
    reader = ServerReader((KEY,), NONCE, FRAME_BYTES_MAX)
    client = ClientHandshake(KEY, NONCE[::-1])
    sent = [reader.start()]
    while not client.done:
        answers = [body for frame in sent for body in client.receive(frame[4:])]
        events = reader.receive(b"".join(map(pack, answers)))
        sent = [event.data for event in events if isinstance(event, Send)]
    assert reader.authenticated
    step = 1 + data[0] * 16 if data else 1
    for at in range(1, len(data), step):
        for event in all_events(reader, data[at : at + step]):
            assert isinstance(event, InertCall | PeerRefused | Closed | Send), event  # never Authenticated again


def call(data: bytes) -> None:
    """Read a pickle as a call: it is a call with a known form, or it is refused."""
    with contextlib.suppress(BadCall):
        found = read_call(data)
        assert type(found.method) is str
        assert type(found.args) is tuple
        assert all(type(key) is str for key in found.kwds)
    with contextlib.suppress(BadCall):
        read_inert(data, [b"part", b"another"])


def protocol(data: bytes) -> None:
    """Give the readers of `protocol/` any plain values: each reads or refuses them."""
    source = Source(data)
    which, values = source.number() % 7, [source.value() for _ in range(5)]
    mapping = {key: source.value() for key in _keys(source)}
    with contextlib.suppress(DistqError):
        match which:
            case 0 | 1:
                read_submit(Registry(Defaults()), tuple(values), NOW)
            case 2:
                read_exchange(tuple(values[:3]))
            case 3:
                read_report(mapping if source.number() & 1 else values[0])
            case 4:
                read_hello({"protocol": (1, 1), **mapping})
                read_worker_hello(mapping)
                read_executor_hello(mapping)
            case 5:
                read_definition(mapping)
            case _:
                read_greeting(mapping)


def _keys(source: Source) -> list[str]:
    return [str(source.value()) for _ in range(source.number() & 15)]


def http_json(data: bytes) -> None:
    """Read the body of a submit over HTTP: it is an order, or it is refused with a sentence."""
    with contextlib.suppress(Problem):
        read_order(data, None)


_NAMES: Final = tuple(  # without paths: the input would choose which files of the machine are read
    row.name
    for row in ROWS
    if row.kind is not kinds.PATH and "TLS" not in row.name and row.name != "DISTQ_AUTHKEY_CREATE"
)


def settings(data: bytes) -> None:
    """Read settings of any text: they are taken, or refused with a sentence that names one."""
    role = list(Role)[data[0] % 3] if data else Role.MASTER
    environ = {"DISTQ_AUTHKEY": "a key of the tests that is long enough"}
    for part in data[1:].split(SEVERAL):
        environ[_NAMES[part[0] % len(_NAMES)] if part else "DISTQ_X"] = part[1:].decode(errors="surrogateescape")
    with contextlib.suppress(DistqError):
        load(environ, role)


def heads(data: bytes) -> None:
    """Start a master on stored rows of any bytes: it starts, or says which row it cannot read."""
    source = Source(data)
    rows = [
        (_row_key(source), source.take(int.from_bytes(source.take(2), "big") & 511)) for _ in range(source.number() & 7)
    ]
    registry = Registry(Defaults())
    loader = Loader(registry)
    loader.feed(rows)
    ledger = Ledger(Defaults(), lambda: 0.5, 2 << 40 | 1, registry)
    bodies = {key: source.take(source.number()) for key in loader.keys_of_bodies}
    with contextlib.suppress(DistqError):
        restore(ledger, loader, NOW)
        restore_extras(ledger, loader, bodies)


def _row_key(source: Source) -> int:
    """Return the key of a row: more than half of them are tasks, the others rows of each other kind."""
    kind, number = source.number() % 12, source.number()
    return (POLICIES, SCHEDULES, CURSORS, PARTS, 0)[kind] - number - 1 if kind < 5 else number


def dead_letter(data: bytes) -> None:
    """Read the stored body of a dead letter: it is whole, or refused as unreadable."""
    with contextlib.suppress(ValueError):
        head.unpack_dead(data)


_SECRETS: Final = ((), (KEY,))
_SEALERS: Final = [Sealer(SealSecrets(signing, encryption)) for signing in _SECRETS for encryption in _SECRETS]
CONTEXT: Final = context_of("q", "f", (("tenant", "x"),))


def sealed(data: bytes) -> None:
    """Open a body with and without keys: it is opened or refused, and what is unsigned never passes for signed."""
    which = data[0] % len(_SEALERS) if data else 0
    body = data[1:]
    with contextlib.suppress(SealRefused):
        opened = _SEALERS[which].open(body, tuple(SealKind), CONTEXT)
        assert len(opened.content) <= len(body)
        assert not _SEALERS[which].demands_signatures or (opened.seal is not None and opened.seal.is_signed)
    with contextlib.suppress(SealRefused):
        assert body.endswith(content_of(body))


def key_file(data: bytes) -> None:
    """Read the bytes of a file of keys: they are keys, or refused with a sentence that shows none of them."""
    refusal = ""
    try:
        text = decode_text(data, "The file")
        if data[:1] == b"#":
            check_authkeys(parse_authkeys(text), "The file")
        else:
            named = aged(parse_role_keys(text, "The file"))
            assert all(len(one.key) >= KEY_LENGTH_MIN and one.authority.roles for one in named)
    except SettingsError as error:
        refusal = str(error)
    words = {word for line in data.decode(errors="replace").split("\n") for word in line.split()[1:]}
    assert not any(len(word) >= KEY_LENGTH_MIN and word in refusal for word in words)


class _Bearers(BearerKeys):
    """The keys of a master, whose refusals wait for nothing."""

    async def _refusal(self, request: Request, sentence: str) -> Problem:
        return Problem(401, f"{peer_of(request)} has no key.")


_RING: Final = KeyRing([NamedKey(KEY, Authority("fuzz", ("read",)))])
_BEARERS: Final = _Bearers([_RING], cast("Any", None), cast("Any", None), lambda *_: None, over_plain_http=False)
_SESSIONS: Final = Sessions(_BEARERS)


def http_head(data: bytes) -> None:
    """Read keys, cookies and origins of a request's head: it has the key's authority only with the key itself."""
    names = (b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site", b"last-event-id", b"accept")
    lines = [line for line in data[1:].split(b"\n") if line]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/page",
        "scheme": "https" if data[:1] < b"m" else "http",
        "client": ("10.0.0.1" if data[:1] < b"x" else "127.0.0.1", 1),
        "headers": [(names[line[0] % len(names)], line[1:]) for line in lines],
    }
    request = Request(scope)
    with contextlib.suppress(Problem):
        check_same_origin(request)
    allowed: list[Any] = []

    async def ask() -> None:
        with contextlib.suppress(Problem):
            allowed.append(await _SESSIONS.authority(request, NOW))

    with contextlib.suppress(StopIteration):
        ask().send(None)
        raise AssertionError("it waits")
    assert allowed in ([], [None]) or KEY in data or PROOF in data


PROOF: Final = proof_of(KEY, "1000001").encode()
COOKIE_SEED: Final = b"distq_session=1000001." + PROOF
"""A cookie that a master has made."""
TARGETS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    target.__name__: target
    for target in (
        framing,
        handshake,
        server,
        call,
        protocol,
        http_json,
        http_head,
        settings,
        key_file,
        heads,
        dead_letter,
        sealed,
    )
}
PICKLES: Final = ("call", "server")
"""Targets whose inputs are pickles: one that distq refuses might still harm a program that builds its objects."""
