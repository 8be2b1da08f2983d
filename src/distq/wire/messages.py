"""Calls and replies, as `multiprocessing.managers` writes them.

A call is the pickle of `(ident, method, args, kwds)`, a reply that of `(kind, value)`. Replies are written in
pickle protocol 4, which every Python from 3.8 on reads by default; calls, and replies with payloads or results, which
only distq's own peers get, in 5.
"""

import builtins
import pickle
import queue
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NoReturn

from distq.wire.errors import BadReply, RemoteRefusal
from distq.wire.framing import PART_BYTES_MIN, PARTS_MAX, Buffer, SplitFrame, pack_parts, pack_split

CALL_PROTOCOL = 5
REPLY_PROTOCOL = 4

_EXCEPTION_MODULES = {"builtins": builtins, "queue": queue, "_queue": queue}
_PLAIN_TYPES = (str, bytes, int, float, bool, type(None))

# Written out because pickle would name the private module `_queue`, which not every Python has.
_QUEUE_ERRORS: dict[type[BaseException], bytes] = {
    kind: b"\x80\x04\x8c\x06#ERROR\x8c\x05queue\x8c%c%s\x93)R\x86." % (len(name), name)
    for kind, name in ((queue.Empty, b"Empty"), (queue.Full, b"Full"))
}


def encode_call(
    ident: str | None, method: str, args: tuple[object, ...] = (), kwds: Mapping[str, object] | None = None
) -> bytes:
    """Return the body of a call; pickle raises its own errors for arguments that cannot be pickled."""
    return pickle.dumps((ident, method, args, dict(kwds or ())), CALL_PROTOCOL)


def pack_call(
    ident: str | None, method: str, args: tuple[object, ...] = (), kwds: Mapping[str, object] | None = None
) -> Sequence[Buffer]:
    """Return what to send for a call: a split frame if `beside` has marked bodies in an argument."""
    return _packed((ident, method, args, dict(kwds) if kwds else {}))


def pack_returned(value: object) -> Sequence[Buffer]:
    """Return what to send for a reply with this value, in a split frame if `beside` has marked bodies in it."""
    return _packed(("#RETURN", value))


def _packed(message: object) -> Sequence[Buffer]:
    marked: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, CALL_PROTOCOL, buffer_callback=marked.append)
    return pack_split(pickled, [one.raw() for one in marked]) if marked else pack_parts(pickled)


def beside(rows: Sequence[tuple[Any, ...]], index: int) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a message with their large bodies, at `index`, marked to travel beside the pickle, uncopied.

    Only for a peer that reads split frames.
    """
    large = [at for at, row in enumerate(rows) if row[index] is not None and len(row[index]) >= PART_BYTES_MIN]
    if not large:
        return rows
    marked = list(rows)
    for at in large[:PARTS_MAX]:
        row = rows[at]
        marked[at] = (*row[:index], pickle.PickleBuffer(row[index]), *row[index + 1 :])
    return marked


def bodies_beside(bodies: Sequence[bytes]) -> Sequence[object]:
    """Do the same with the bodies of a message."""
    if not bodies or max(map(len, bodies)) < PART_BYTES_MIN:
        return bodies
    return [body for (body,) in beside([(body,) for body in bodies], 0)]


def returned(value: object) -> bytes:
    """Return the body of a reply that makes the caller's method return `value`."""
    return pickle.dumps(("#RETURN", value), REPLY_PROTOCOL)


def created(name: str, methods: tuple[str, ...]) -> bytes:
    """Return the body of a reply to `create`: the methods, and an ident that names the caller's process and thread too.

    The caller's unpickler puts them in, as hexadecimal numbers: `word@process.hash.thread`. The hash of a text differs
    from process to process, so that processes with the same number on several hosts have different idents.
    """
    return b"".join(
        (_CREATED, _short_text(f"{name}@%x.%x.%x"), _CALLER, memoryview(pickle.dumps(methods, 4))[:-1], b"\x86\x86.")
    )


def object_of(ident: str) -> tuple[str, str]:
    """Return the object that an ident names, and the caller's process and thread, '' in an ident without them."""
    name_of_object, _, caller = ident.partition("@")
    return name_of_object, caller


def _short_text(text: str) -> bytes:
    return b"\x8c%c%s" % (len(text.encode()), text.encode())


def _global(module: str, name: str) -> bytes:
    return _short_text(module) + _short_text(name) + b"\x93"


_CREATED = b"\x80\x04" + _short_text("#RETURN") + _global("operator", "mod")
_CALLER = b"".join(  # mod(text, (getpid(), hash("distq"), get_ident()))
    (
        _global("os", "getpid") + b")R",
        _global("builtins", "hash") + _short_text("distq") + b"\x85R",
        _global("threading", "get_ident") + b")R",
        b"\x87\x86R",
    )
)


def raised(exc: BaseException) -> bytes:
    """Return the body of a reply that raises this exception at the caller.

    Only exceptions of Python itself and of `queue` are sent as they are, because the caller must be able to import
    them; any other becomes a refusal whose sentence names it.
    """
    kind = type(exc)
    if kind in _QUEUE_ERRORS:
        return _QUEUE_ERRORS[kind]
    if kind.__module__ in _EXCEPTION_MODULES and all(isinstance(arg, _PLAIN_TYPES) for arg in exc.args):
        return pickle.dumps(("#ERROR", kind(*exc.args)), REPLY_PROTOCOL)
    return refused(f"{kind.__name__}: {exc}")


def refused(sentence: str) -> bytes:
    """Return the body of a reply that raises a `RemoteError` with this sentence at the caller."""
    # The standard library prints a rule of dashes right behind the text.
    return pickle.dumps(("#TRACEBACK", sentence if sentence.endswith("\n") else sentence + "\n"), REPLY_PROTOCOL)


class _PlainReader(pickle.Unpickler):
    """Reads a reply: Python's plain values, and the exceptions of Python and of `queue`. It imports nothing else.

    A master whose machine an attacker has taken over must not run code in its workers and clients either.
    """

    def find_class(self, module: str, name: str, /) -> type[Exception]:
        found: object = getattr(_EXCEPTION_MODULES.get(module), name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, and a reply has only plain values")


def decode_plain_reply(body: bytes) -> object:
    """Return what a call of the master's broker returned, or raise what it raised; nothing else is imported or called.

    Raises:
        RemoteRefusal: the other end refused the call.
        BadReply: the body is not a reply.
    """
    try:
        kind, value = _PlainReader(BytesIO(body), buffers=body.parts if isinstance(body, SplitFrame) else None).load()
    except Exception as exc:
        raise _unreadable(body, exc) from exc
    return value if kind == "#RETURN" else _raise(kind, value, body)


def decode_reply(body: bytes) -> object:
    """Do the same for a call of a standard-library server's queue, whose items may be any objects.

    The body is unpickled: only a peer that has proved the key may have sent it.

    Raises:
        RemoteRefusal: the other end refused the call.
        BadReply: the body is not a reply, or names a class or function that this process cannot import.
    """
    try:
        kind, value = pickle.loads(body, buffers=body.parts if isinstance(body, SplitFrame) else None)
    except Exception as exc:
        raise _unreadable(body, exc) from exc
    return value if kind == "#RETURN" else _raise(kind, value, body)


def _unreadable(body: bytes, error: Exception) -> BadReply:
    return BadReply(f"The reply cannot be read here: {error}.", body)


def _raise(kind: object, value: object, body: bytes) -> NoReturn:
    match kind:
        case "#ERROR" if isinstance(value, BaseException):
            raise value
        case "#TRACEBACK" | "#UNSERIALIZABLE":
            raise RemoteRefusal(str(value).rstrip())
        case _:
            raise BadReply(f"The reply is of a kind that is not known here: {kind!r}.", body)
