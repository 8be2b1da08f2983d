"""Reads the bodies of requests, which are strict JSON.

A request is read in the event loop of the master, where it delays all others, so its size is limited.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from starlette.requests import ClientDisconnect

from distq.core.ranges import cut
from distq.core.strict_json import NotStrict, read_strict
from distq.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_BYTES_MAX: Final = 1 << 20
"""Maximum bytes of a request's body: to read them takes the event loop at most about 50 ms."""
JSON: Final = "application/json"


async def body_of(request: Request) -> bytes:
    """The body of a request in JSON; raises Problem (400, 413, 415)."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != JSON or charset not in ("", "charset=utf-8"):
        raise Problem(
            415,
            f"The body is read as {JSON} in UTF-8, not as "
            f"{cut(request.headers.get('content-type') or 'a type that the request does not name')}. "
            f"Send the header 'Content-Type: {JSON}'.",
            headers={"Accept-Post": JSON},
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(415, f"A body with Content-Encoding {cut(encoding)} is not read. Send it uncompressed.")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > BODY_BYTES_MAX:
        _refuse_size(f"{cut(announced)} bytes")
    pieces, size_bytes = [], 0
    try:
        async for piece in request.stream():
            size_bytes += len(piece)
            if size_bytes > BODY_BYTES_MAX:
                _refuse_size("more")
            pieces.append(piece)
    except ClientDisconnect:
        raise Problem(400, "The connection ended before the body.") from None
    return b"".join(pieces)


def _refuse_size(found: str) -> NoReturn:
    raise Problem(
        413,
        f"The body has at most {BODY_BYTES_MAX:,} bytes, not {found}. Put the data where the worker can read it, and "
        "submit a reference.",
    )


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; raises Problem (400, 422)."""
    try:
        value = read_strict(body)
    except NotStrict as error:
        raise Problem(400, f"The body is not strict JSON: {error}") from None
    if type(value) is not dict:
        raise Problem(422, f'The body is an object, as in {{"name": "mail:send"}}, not {_kind(value)}.')
    return value


def packed(value: Any) -> bytes:
    """A value of a body in JSON; raises Problem for a text that UTF-8 cannot encode."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise Problem(400, f"The body has half of a surrogate pair ({half}), which is no character.") from None


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
