"""The body of `POST /api/v1/tasks`: the fields that it may have, and the submit that they make."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime
from typing import Any, Final, NamedTuple

from distq.core.constraints import HEADERS_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX
from distq.core.head import NAME_BYTES_MAX, TASK_NAME_BYTES_MAX, TASK_NAME_SHAPE, new_task_name
from distq.core.idempotency import HEADER, KEY_SHAPE, Idempotency
from distq.core.option_values import LABELS_BYTES_MAX, LABELS_MAX
from distq.core.ranges import LABEL_SHAPE, headers, labels, shown
from distq.protocol.submit import CONFLICTS, REJECT, RETURN, SubmitEnvelope, When, WireTuple, write_constraints
from distq.web.fields import (
    Field,
    choice_field,
    read_fields,
    seconds_field,
    shaped_field,
    text_field,
    whole_field,
)
from distq.web.json_body import packed, read_object
from distq.web.problems import Problem

QUEUE_DEFAULT: Final = "default"
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
"""A date and time of RFC 3339."""


class TaskOrder(NamedTuple):
    """A task to submit."""

    envelope: WireTuple
    """With the fields of `SubmitEnvelope`."""
    when: WireTuple
    """With the fields of `When`."""
    constraints: WireTuple
    """With the fields of `SubmitConstraints`."""
    payload: bytes
    """Its arguments in JSON."""
    idempotency: Idempotency | None
    key_name: str = ""
    """Name of the key that authenticated the request."""


def _array(name: str, given: Any) -> list[Any]:
    if type(given) is not list:
        raise TypeError(f"{name} is an array of the task's arguments, not {shown(given)}")
    return given


def _object(name: str, given: Any) -> dict[str, Any]:
    if type(given) is not dict:
        raise TypeError(f"{name} is an object with arguments by the names of their parameters, not {shown(given)}")
    return given


def _headers(name: str, given: Any) -> tuple[tuple[str, str], ...]:
    if type(given) is not dict:
        raise TypeError(f"{name} is an object of texts, as in {{'tenant': 'acme'}}, not {shown(given)}")
    if HEADER in given:
        raise ValueError(f"the header {HEADER} keeps the idempotency key: send the key as idempotency_key")
    return headers(name, given)


def _labels(name: str, given: Any) -> tuple[str, ...]:
    if type(given) is not list:
        raise TypeError(f"{name} is an array of labels, not {shown(given)}")
    return labels(name, given) if given else ()


def _instant(name: str, given: Any) -> float:
    sentence = f"{name} is a date and time of RFC 3339, as in 2027-03-01T09:00:00Z, not {shown(given)}"
    if not (isinstance(given, str) and _INSTANT.fullmatch(given)):
        raise ValueError(sentence)
    try:
        return datetime.fromisoformat(given.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(sentence) from error


IDEMPOTENCY_KEY: Final = shaped_field(
    "idempotency_key",
    KEY_SHAPE,
    "a UUID",
    "A repeated request with the same key is answered with the task of the first one, while the master keeps that "
    "task. The header Idempotency-Key does the same.",
)
TASK_FIELDS: Final = (
    Field(
        "name",
        {
            "type": "string",
            "minLength": 1,
            "maxLength": TASK_NAME_BYTES_MAX,
            "pattern": f"^{TASK_NAME_SHAPE.pattern}$",
        },
        f"Name of the task, as in `mail:send`; at most {TASK_NAME_BYTES_MAX} bytes in UTF-8, without line breaks and "
        "control characters, and without spaces at an end.",
        new_task_name,
        is_required=True,
    ),
    Field("args", {"type": "array"}, "Its arguments; none by default.", _array),
    Field("kwargs", {"type": "object"}, "Its arguments by the names of their parameters.", _object),
    text_field(
        "queue",
        NAME_BYTES_MAX,
        f"Its queue, `{QUEUE_DEFAULT}` by default; at most {NAME_BYTES_MAX} bytes in UTF-8. The name of a new queue "
        "has no comma, line break or control character, and no space at an end.",
    ),
    whole_field("priority", "9 comes first; 5 by default."),
    whole_field("retries", "Maximum retries after failures; `DISTQ_RETRIES` by default."),
    whole_field("max_deliveries", "Deliveries that may be lost while it runs; `DISTQ_MAX_DELIVERIES` by default."),
    seconds_field("time_limit", "Time limit of one attempt; `DISTQ_TIME_LIMIT` by default."),
    seconds_field("result_ttl", "How long the master keeps its result; `DISTQ_RESULT_TTL_S` by default."),
    seconds_field("delay", "Seconds after the submit before which it does not run."),
    Field(
        "eta",
        {"type": "string", "format": "date-time"},
        "Instant before which it does not run, of RFC 3339, at most 366 days ahead.",
        _instant,
    ),
    seconds_field("expires", "Seconds after the submit from which on it is not begun any more."),
    Field(
        "requires",
        {"type": "array", "maxItems": LABELS_MAX, "items": {"type": "string", "pattern": f"^{LABEL_SHAPE.pattern}$"}},
        f"Labels that its worker must have; together at most {LABELS_BYTES_MAX} bytes.",
        _labels,
    ),
    whole_field("cost", "Slots that it takes; 1 by default."),
    text_field(
        "concurrency_key",
        KEY_BYTES_MAX,
        f"At most `concurrency` tasks of one key run at the same time; at most {KEY_BYTES_MAX} bytes in UTF-8.",
    ),
    whole_field("concurrency", "Maximum tasks of its concurrency key that run at the same time; 1 by default."),
    text_field(
        "unique_key",
        KEY_BYTES_MAX,
        f"No other task of its queue has the same key; at most {KEY_BYTES_MAX} bytes in UTF-8.",
    ),
    seconds_field("unique_for", "How long it has its unique key; until its end by default."),
    choice_field(
        "on_conflict",
        CONFLICTS,
        "If another task has the unique key: `reject` this one (409, the default), `return` the id of the other task, "
        "or `replace` it.",
    ),
    Field(
        "headers",
        {
            "type": "object",
            "maxProperties": HEADERS_MAX - 1,
            "propertyNames": {"type": "string", "minLength": 1, "not": {"const": HEADER}},
            "additionalProperties": {"type": "string"},
        },
        f"Texts that travel with it, by name; together at most {HEADERS_BYTES_MAX:,} bytes, less those of the "
        "idempotency key.",
        _headers,
    ),
    IDEMPOTENCY_KEY,
)
"""The fields of the body."""


def read_order(body: bytes, header_key: str | None) -> TaskOrder:
    """The submit that a body describes, with the key of the header `Idempotency-Key`; raises Problem."""
    given = read_object(body)
    try:
        fields = read_fields(TASK_FIELDS, given)
        key = _key(fields, header_key)
        idempotency = None if key is None else Idempotency(key, _fingerprint(given))
        return TaskOrder(
            tuple(_envelope(fields)),
            tuple(When(fields["delay_s"], fields["eta"], fields["expires_s"])),
            _constraints(fields, idempotency),
            packed({"args": fields["args"] or [], "kwargs": fields["kwargs"] or {}}),
            idempotency,
        )
    except (TypeError, ValueError) as error:
        raise Problem(422, f"The body is not valid: {error}.") from None


def _envelope(fields: dict[str, Any]) -> SubmitEnvelope:
    return SubmitEnvelope(
        fields["queue"] or QUEUE_DEFAULT,
        fields["name"],
        fields["priority"],
        fields["retries"],
        fields["time_limit_s"],
        fields["result_ttl_s"],
        fields["max_deliveries"],
        fields["requires"] or (),
        fields["cost"],
    )


def _constraints(fields: dict[str, Any], idempotency: Idempotency | None) -> WireTuple:
    sent = fields["headers"] or ()
    if idempotency is not None:
        sent = headers("headers, with the idempotency key,", (*sent, idempotency.header))
    return write_constraints(
        fields["concurrency_key"],
        fields["concurrency"],
        fields["unique_key"],
        fields["unique_for_s"],
        fields["on_conflict"] or REJECT,
        headers=sent,
    )


def _key(fields: dict[str, Any], in_header: str | None) -> str | None:
    in_body = fields["idempotency_key"]
    if None not in (in_body, in_header) and in_body != in_header:
        raise ValueError(f"the body has the idempotency key {shown(in_body)}, and the header {shown(in_header)}")
    key: str | None = in_header if in_body is None else in_body
    if key is not None and fields["on_conflict"] == RETURN:
        raise ValueError(
            "on_conflict 'return' and an idempotency key exclude each other: leave the idempotency key out, as the "
            "unique key makes the request repeatable"
        )
    return key


def _fingerprint(given: dict[str, Any]) -> str:
    """A hash of what the client asks for: the same for bodies that differ in form only, or in where the key is."""
    asked = {name: value for name, value in given.items() if value is not None and name != IDEMPOTENCY_KEY.name}
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()[:16]).decode().rstrip("=")
