"""One task as the page shows it: its facts, arguments, result, traceback, and the tasks to which it is related."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from distq.core.option_values import PLAIN
from distq.core.plurals import counted
from distq.tasks.payload_text import CHARS_MAX, describe, failure_of, read
from distq.web.page import public
from distq.web.tasks import PICKLED
from distq.wire.errors import BadCall

Ask = Callable[..., Awaitable[dict[str, Any]]]

BODY_BYTES_MAX: Final = 256 << 10
"""Maximum bytes of arguments, a result or an error that are described; the event loop reads them."""
TRACEBACK_CHARS_MAX: Final = 20_000


async def task_view(ask: Ask, asked: Mapping[str, Any], *, sees_all: bool) -> dict[str, Any]:
    """Return one task; raises DistqError."""
    facts = await ask("show", {"id": asked.get("id"), "bodies": sees_all})
    related = await ask("related", {"id": facts["id"]})
    facts["errors"] = [public.error_class(cause) for cause in facts["causes"]]
    for direction in ("upstream", "downstream"):  # the key may be for this task's queue alone
        related[direction] = public.public_rows(related[direction], public.TASK_ROW)
    if sees_all:
        payload, outcome = facts.pop("payload"), facts.pop("outcome")
        texts = {**_outcome(facts["state"], outcome), "arguments": _arguments(payload, facts)}
        return {**facts, **texts, "related": related}
    return {**public.public(facts, public.TASK), "related": related}


def _arguments(payload: bytes | None, facts: Mapping[str, Any]) -> str | None:
    if payload is None:
        return None
    if len(payload) > BODY_BYTES_MAX:
        return counted(len(payload), "byte")
    return describe(payload, facts["name"], plain=facts["kind"] == PLAIN)


def _outcome(state: str, outcome: bytes | None) -> dict[str, Any]:
    """Return the result, or the error with its traceback, as texts; a pickle is read without running it."""
    if outcome is None:
        return {"result": None, "error": None}
    if len(outcome) > BODY_BYTES_MAX:
        return {"result": counted(len(outcome), "byte"), "error": None}
    if state == "dead":
        kind, text, traceback = failure_of(outcome)
        return {
            "result": None,
            "error": {"type": kind, "text": text[:CHARS_MAX], "traceback": traceback[-TRACEBACK_CHARS_MAX:]},
        }
    return {"result": _result(outcome)[:CHARS_MAX], "error": None}


def _result(outcome: bytes) -> str:
    if outcome[:1] != PICKLED:
        return outcome.decode(errors="replace")
    try:
        return repr(read(outcome))
    except (BadCall, RecursionError) as error:
        return f"not readable: {error}"
