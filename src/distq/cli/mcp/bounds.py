"""Limits the size of what a tool returns: an agent reads all of it, and pays for each character."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

TEXT_CHARS_MAX: Final = 400
"""Maximum characters of a text in a result."""
TRACEBACK_CHARS_MAX: Final = 8_000
"""Maximum characters of a traceback, and of the arguments of a call."""
CAUSES_MAX: Final = 3
"""Maximum causes of a task in a result, the newest ones."""
PAGE_CHARS_MAX: Final = 40_000
"""Maximum characters of the rows of one page as JSON; a page has at least one row."""


def cut(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return a text with at most that many characters of its beginning, and its length if it is longer."""
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({len(text):,} characters)"


def cut_traceback(text: str) -> str:
    """Return the end of a traceback, which names the error."""
    return text if len(text) <= TRACEBACK_CHARS_MAX else f"…{text[-TRACEBACK_CHARS_MAX:]}"


def bounded(value: Any) -> Any:
    """Return a value of JSON with its texts cut, and of each task's causes the newest."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, dict):
        return {
            cut(field): bounded(part[-CAUSES_MAX:] if field in ("causes", "caused_at") else part)
            for field, part in value.items()
        }
    return [bounded(part) for part in value] if isinstance(value, list | tuple) else value


def page(
    rows: Sequence[dict[str, Any]], following: Any, place_after: Callable[[int], Any]
) -> tuple[list[dict[str, Any]], Any]:
    """Return the first rows that fit a page, and the value by which the next page begins, None after the last row.

    Args:
        rows: the rows that the master has sent.
        following: the value for the page after all of them, None if there are no more.
        place_after: the value for a page after the first `n` of them.
    """
    kept: list[dict[str, Any]] = []
    chars = 0
    for row in map(bounded, rows):
        chars += len(json.dumps(row))
        if kept and chars > PAGE_CHARS_MAX:
            return kept, place_after(len(kept))
        kept.append(row)
    return kept, following
