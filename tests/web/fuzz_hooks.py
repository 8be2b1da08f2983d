"""What schemathesis must know about the API besides its document."""

import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from tests.web.fuzz import IDS

from distq.core.constraints import HEADERS_BYTES_MAX, KEY_BYTES_MAX
from distq.core.head import NAME_BYTES_MAX, TASK_NAME_BYTES_MAX, new_queue_name
from distq.core.idempotency import KEY_SHAPE
from distq.core.option_values import LABELS_BYTES_MAX

ENDED: Final = [ident for ident in os.environ.get(IDS, "").split(",") if ident]
BYTES_MAX: Final = {
    "name": TASK_NAME_BYTES_MAX,
    "queue": NAME_BYTES_MAX,
    "concurrency_key": KEY_BYTES_MAX,
    "unique_key": KEY_BYTES_MAX,
}
"""Texts whose size in bytes is limited: JSON Schema counts characters."""
QUOTE: Final = '"'
NUMBERS: Final = itertools.count()
LATER: Final = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime.now(UTC).replace(tzinfo=None) + timedelta(days=365),
    timezones=st.just(UTC),
)

schemathesis.openapi.format("date-time", LATER.map(lambda at: at.isoformat().replace("+00:00", "Z")))


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """Leave out bodies that break a rule which JSON Schema cannot state, and which the descriptions do state."""
    if not isinstance(body, dict):
        return True
    texts = all(_size(body.get(name)) <= most for name, most in BYTES_MAX.items())
    headers, requires = body.get("headers"), body.get("requires")
    of_headers = sum(map(_size, (*headers, *headers.values()))) if isinstance(headers, dict) else 0
    of_labels = sum(map(_size, requires)) + len(requires) if isinstance(requires, list) else 0
    fits = texts and of_headers < HEADERS_BYTES_MAX - 200 and of_labels <= LABELS_BYTES_MAX
    return fits and _can_be_listed(body.get("queue"))


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Change submits whose parts are valid, but exclude each other, which the document says in words only.

    A valid idempotency key becomes a new one, as other requests had it before.
    """
    body, key = case.body, (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and KEY_SHAPE.fullmatch(key.strip(QUOTE)):
        case.headers["Idempotency-Key"] = f"{key.strip(QUOTE)[:100]}.{next(NUMBERS)}"
    if not isinstance(body, dict):
        return
    if body.get("on_conflict") == "return":
        body["on_conflict"] = "replace"
    in_body = body.get("idempotency_key")
    if isinstance(in_body, str) and KEY_SHAPE.fullmatch(in_body):
        body["idempotency_key"] = f"{in_body[:100]}.{next(NUMBERS)}"
        if key is not None:
            del body["idempotency_key"]


@schemathesis.hook
def filter_query(context: Any, query: Any) -> bool:
    """Leave out unknown parameters of paths without a key, which ignore them as they always have."""
    return "/tasks" in context.operation.path or not query or set(query) <= {"queues"}


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: Any) -> Any:
    """Ask for a task that has ended instead of every second one that there never was."""
    ident = (path_parameters or {}).get("id")
    if ENDED and isinstance(ident, str) and len(ident) % 2:
        return {**path_parameters, "id": ENDED[len(ident) // 2 % len(ENDED)]}
    return path_parameters


def _can_be_listed(queue: Any) -> bool:
    try:
        return not queue or not isinstance(queue, str) or bool(new_queue_name(queue))
    except ValueError:
        return False


def _size(value: Any) -> int:
    return len(value.encode(errors="replace")) if isinstance(value, str) else 0
