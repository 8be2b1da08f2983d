"""Reads JSON strictly: what another reader of JSON could understand in another way is refused.

The HTTP API reads requests in this way, and commands read arguments.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from typing import Any, Final, NoReturn

from distq.core.ranges import cut

DEPTH_MAX: Final = 100
"""Maximum depth of arrays and objects; a worker's Python, too, reads only a limited depth."""


class NotStrict(ValueError):
    """A text is no JSON, or JSON that other programs may not read as Python does; `str()` is a sentence."""


class NotJson(NotStrict):
    """A text is no JSON for any reader."""


def read_strict(data: bytes | str) -> Any:
    """The value in JSON; raises NotStrict."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise NotStrict(f"byte {error.start:,} of it begins no character in UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJson(f"{error.msg[:1].lower()}{error.msg[1:]} at {place}.") from None
    except NotStrict:
        raise
    except ValueError:  # the only other one: Python converts no longer text to a number
        limit = sys.get_int_max_str_digits()
        raise NotStrict(f"it has a whole number of more than {limit:,} digits. Send a text in quotes.") from None
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise NotStrict(f"an object has the key {cut(twice)!r} more than once.")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise NotStrict(f"{word} is a word of Python. Send null, or a text in quotes.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotStrict(f"the number {cut(digits)} does not fit 64 bits. Send a text in quotes.")
    return number


def _too_deep() -> NotStrict:
    return NotStrict(f"its arrays and objects are nested more than {DEPTH_MAX} deep. Flatten them.")


def _check_depth(value: Any) -> None:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
    if level:
        raise _too_deep()
