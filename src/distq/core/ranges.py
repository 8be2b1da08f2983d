"""The allowed range of each number, duration, date and text from a program, a peer or a schedule, and its check.

The decorator, the client and the master use these functions, so that each of them refuses a value with the same
message. A value of a wrong type raises TypeError, a value out of range raises ValueError. The functions return a plain
`int`, `float` or `str`; they accept numbers of NumPy, `Decimal` and `Fraction` that Python can convert.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from numbers import Integral, Number
from typing import Final, NamedTuple

from distq.core.constraints import HEADERS_BYTES_MAX, HEADERS_MAX, Headers
from distq.core.option_values import COST_MAX, LABELS_BYTES_MAX, LABELS_MAX, PRIORITIES, executor_label

DAY_S: Final = 86_400.0
DURATION_MAX_S: Final = 366 * DAY_S
"""Maximum duration of any option, in seconds; it fits every timer of the operating system and every date."""
SECONDS_MAX: Final = 1e12
"""Maximum seconds that a peer may send; the master then reduces the number to the maximum of the call."""
COUNT_MAX: Final = (1 << 53) - 1
"""Maximum count that a peer may report; metrics and JSON use doubles, which represent it exactly."""
KEY_MAX: Final = (1 << 63) - 1
"""Maximum key of a task, because a store keeps keys as signed 64-bit numbers."""
SHOWN_CHARS_MAX: Final = 60
"""Maximum characters of a refused value in an error message, so that the message stays readable."""
MILLISECONDS_FROM: Final = 1e11
"""A number from this size on (the year 5138 in seconds) is refused as an instant in milliseconds."""

NAME_SHAPE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
"""The form of a queue or a label in a worker's settings: a valid Kubernetes label value, at most 63 characters."""
LABEL_SHAPE: Final = re.compile(rf"(?:{executor_label('')})?{NAME_SHAPE.pattern}", re.ASCII)
"""The form of a label that a worker has from its settings or from the kind of its executors."""
SECONDS_PER_UNIT: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}
_PART: Final = r"\d{1,15}(?:\.\d{1,9})?"
_DURATION: Final = re.compile(rf"({_PART}) ?([A-Za-z]*)", re.ASCII)
_DURATION_PARTS: Final = re.compile(rf"(?:{_PART}(?:ms|[smhd])){{2,5}}", re.ASCII)
_DURATION_PART: Final = re.compile(rf"({_PART})(ms|[smhd])", re.ASCII)
_UNITS_IN_ORDER: Final = ("d", "h", "m", "s", "ms")


class CountRange(NamedTuple):
    """A whole number from `least` to `most`."""

    least: int
    most: int


class SecondsRange(NamedTuple):
    """A duration in seconds, from `least_s` to `most_s`."""

    least_s: float = 0.0
    most_s: float = DURATION_MAX_S
    positive: bool = False
    """Whether the range excludes 0."""
    past_is_zero: bool = False
    """Whether a negative duration means 0, as the time until an instant that has just passed."""
    hint: str = ""


COUNTS: Final = {
    "priority": CountRange(0, PRIORITIES - 1),
    "retries": CountRange(0, 10_000),
    "max_deliveries": CountRange(1, 10_000),
    "cost": CountRange(1, COST_MAX),
    "concurrency": CountRange(1, 1_000_000),
}
"""The range of each option that is a whole number; a stored head counts attempts in 16 bits."""

SPANS: Final = {
    "time_limit": SecondsRange(positive=True, hint="leave it out for no limit"),
    "result_ttl": SecondsRange(),
    "delay": SecondsRange(past_is_zero=True),
    "expires": SecondsRange(positive=True, hint="leave it out for a task that never expires"),
    "unique_for": SecondsRange(positive=True),
    "debounce": SecondsRange(positive=True),
    "every": SecondsRange(least_s=0.1),
    "full": SecondsRange(),
    "a pause": SecondsRange(hint="discard or fail a task that shall not run again"),
}
"""The range of each duration of an option, `distq.Retry` or `distq.Snooze`."""


def shown(value: object) -> str:
    """A value in the form for an error message: short, and readable for every value."""
    if isinstance(value, int) and abs(value) > 10**SHOWN_CHARS_MAX:
        return f"a whole number of about {int(value.bit_length() * math.log10(2)) + 1:,} digits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the value is of any class, and its `repr` may raise anything
        return f"a {type(value).__name__}"
    return cut(text)


def cut(text: str) -> str:
    """The beginning of a text, in the form for an error message."""
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def whole(field: str, value: object) -> int:
    """The whole number that an option takes; raises TypeError or ValueError."""
    least, most = COUNTS[field]
    if type(value) is int and least <= value <= most:
        return value  # first, because making the sentence takes ten times as long, and each keyed task needs this check
    sentence = f"{field} is a whole number from {least:,} to {most:,}, not {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(sentence)
    number = int(value)
    if not least <= number <= most:
        raise ValueError(sentence)
    return number


def seconds(field: str, value: object, *, converted: bool = False) -> float:
    """The duration that an option takes, in seconds; raises TypeError or ValueError.

    With `converted` the value comes from a peer and must be a number, because the peer has already converted it.
    """
    span = SPANS[field]
    if converted and not is_duration(value):
        raise TypeError(_span_sentence(field, span, value))
    given = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(given, bool) or not isinstance(given, Number | str):
        raise TypeError(_span_sentence(field, span, value))
    try:
        number = duration_of(given) if isinstance(given, str) else float(given)  # type: ignore[arg-type]
    except TypeError as error:  # a complex number
        raise TypeError(_span_sentence(field, span, value)) from error
    except (ValueError, OverflowError) as error:
        raise ValueError(_span_sentence(field, span, value)) from error
    if span.past_is_zero and -math.inf < number < 0:
        return 0.0
    if not span.least_s <= number <= span.most_s or (span.positive and number == 0):
        raise ValueError(_span_sentence(field, span, value))
    return number


def _span_sentence(field: str, span: SecondsRange, value: object) -> str:
    days = f"{span.most_s / DAY_S:g} days"
    bounds = f"above 0 s and at most {days}" if span.positive else f"from {span.least_s:g} s to {days}"
    hint = f" ({span.hint})" if span.hint else ""
    forms = "seconds, a timedelta, or a text as in 30s or 1h30m"
    return f"{field} is a duration {bounds}: {forms}; not {shown(value)}{hint}"


def instant(field: str, value: object, now: float) -> float:
    """The instant that an option takes, in seconds since 1970; raises TypeError or ValueError.

    An instant in the past is valid; a task that waits for it is ready immediately.
    """
    if type(value) is float and -math.inf < value < MILLISECONDS_FROM and value <= now + DURATION_MAX_S:
        return value  # before the sentence, as in `whole`
    latest = f"at most {DURATION_MAX_S / DAY_S:g} days ahead"
    sentence = f"{field} is a datetime with a time zone, or seconds since 1970, {latest}; not {shown(value)}"
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError(f"{sentence}: add a time zone, as in datetime.now(UTC)")
    if isinstance(value, bool) or not isinstance(value, Number | datetime):
        raise TypeError(sentence)
    try:
        at = value.timestamp() if isinstance(value, datetime) else float(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(sentence) from error
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(sentence) from error
    if not isinstance(value, datetime) and MILLISECONDS_FROM <= at < math.inf:
        raise ValueError(f"{sentence}: if these are milliseconds, divide them by 1,000")
    if not -math.inf < at <= now + DURATION_MAX_S:
        raise ValueError(sentence)
    return at


def text(field: str, value: object, bytes_max: int) -> str:
    """A text of 1 to `bytes_max` bytes in UTF-8; raises TypeError or ValueError."""
    if type(value) is str and value.isascii() and 0 < len(value) <= bytes_max:
        return value  # before the sentence, as in `whole`
    sentence = f"{field} is a text of 1 to {bytes_max:,} bytes in UTF-8, not {shown(value)}"
    if not isinstance(value, str):
        raise TypeError(sentence)
    if not 0 < _size_bytes(value, sentence) <= bytes_max:
        raise ValueError(sentence)
    return plain_text(value)


def plain_text(value: str) -> str:
    """The text of a member of an enumeration of texts, or of another subclass, as a `str`: only that can travel."""
    return str.__str__(value)


def labels(field: str, value: object) -> tuple[str, ...]:
    """Labels that a worker must have, from one text or several, each once; raises TypeError or ValueError."""
    sentence = (
        f"{field} is a label or several, as in ('gpu', 'eu'): at most {LABELS_MAX}, of {LABELS_BYTES_MAX} bytes "
        f"together, each as DISTQ_LABELS takes it (letters, digits, - _ . between, up to 63); not {shown(value)}"
    )
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(sentence)
    found = {value} if isinstance(value, str) else set(value)
    if not all(isinstance(one, str) for one in found):
        raise TypeError(sentence)
    if not found or not all(map(LABEL_SHAPE.fullmatch, found)):
        raise ValueError(sentence)  # no worker can have it
    if len(found) > LABELS_MAX or _size_bytes(",".join(found), sentence) > LABELS_BYTES_MAX:
        raise ValueError(sentence)
    return tuple(sorted(map(plain_text, found)))


def headers(field: str, value: object) -> Headers:
    """The headers of a task, texts by name, from a mapping or from pairs; raises TypeError or ValueError."""
    sentence = (
        f"{field} are texts by their names, as in {{'tenant': 'acme'}}: at most {HEADERS_MAX}, of "
        f"{HEADERS_BYTES_MAX:,} bytes in UTF-8 together; not {shown(value)}"
    )
    try:
        found = tuple(dict(value).items())  # type: ignore[call-overload] # any other type raises, and is refused below
    except (TypeError, ValueError):
        raise TypeError(sentence) from None
    if not all(isinstance(name, str) and name and isinstance(text, str) for name, text in found):
        raise TypeError(sentence)
    if len(found) > HEADERS_MAX or _size_bytes("".join(itertools.chain(*found)), sentence) > HEADERS_BYTES_MAX:
        raise ValueError(sentence)
    return tuple((plain_text(name), plain_text(text)) for name, text in found)


def _size_bytes(value: str, sentence: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{sentence}: it has half of a surrogate pair") from error


def count_of(value: object, most: int = COUNT_MAX) -> int:
    """A count that a peer reports, at most `most`; 0 if the value is not a count."""
    return min(value, most) if type(value) is int and value >= 0 else 0


def is_duration(value: object) -> bool:
    """Whether a peer's value is a number of seconds from 0 to SECONDS_MAX."""
    return type(value) in (int, float) and 0 <= value <= SECONDS_MAX  # type: ignore[operator] # it is a number


def duration_of(text: str) -> float:
    """Read a duration in seconds: `500ms`, `30`, `30s`, `5m`, `1h`, `1d`, `1h30m`.

    Raises:
        ValueError: the text is not a duration; the message, which may be empty, says why.
    """
    match = _DURATION.fullmatch(text)
    if match is not None:
        return number_of(match[1]) * unit_of(match[2], SECONDS_PER_UNIT)
    if not _DURATION_PARTS.fullmatch(text):
        raise ValueError
    parts = _DURATION_PART.findall(text)
    places = [_UNITS_IN_ORDER.index(unit) for _, unit in parts]
    if any(before >= after for before, after in itertools.pairwise(places)):
        raise ValueError("its units go from the largest to the smallest, each once")
    return sum(number_of(number) * SECONDS_PER_UNIT[unit] for number, unit in parts)


def number_of(digits: str) -> float:
    """The number of a text of digits, with or without a fraction."""
    return float(digits) if "." in digits else int(digits)


def unit_of(unit: str, units: Mapping[str, float]) -> float:
    """The factor of a unit; raises ValueError for an unknown unit."""
    if unit not in units:
        raise ValueError(f"there is no unit {unit}")
    return units[unit]
