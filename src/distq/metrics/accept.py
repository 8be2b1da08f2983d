"""Chooses the version of the text format for a scraper: 0.0.4, unless its `Accept` prefers 1.0.0.

The text is the same in both. Most scrapers know only 0.0.4, whatever their `Accept` says, and discard an answer of
version 1.0.0: a scraper never receives a version that it did not ask for.

https://prometheus.io/docs/instrumenting/content_negotiation/ · https://www.rfc-editor.org/rfc/rfc9110#field.accept
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

USUAL: Final = "text/plain; version=0.0.4; charset=utf-8"
NEWER: Final = "text/plain; version=1.0.0; charset=utf-8"

_WEIGHT: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_EXACT, _BY_TYPE, _BY_KIND, _ANY = 3, 2, 1, 0
_PLACES: Final = {"text/plain": _BY_TYPE, "text/*": _BY_KIND, "*/*": _ANY}


def content_type(accept: Iterable[str]) -> str:
    """Return the content type for a request's `Accept` headers; parts of them that cannot be read are ignored."""
    usual, newer = (-1, 0.0), 0.0
    """For 0.0.4 the precision of the range that names it, and its weight; for 1.0.0 the weight."""
    for media, version, weight in _ranges(accept):
        place = _PLACES.get(media)
        if place is None or version not in ("", "0.0.4", "1.0.0"):
            continue
        if version == "1.0.0" and place == _BY_TYPE:
            newer = max(newer, weight)
        elif version != "1.0.0":
            usual = max(usual, (_EXACT if version else place, weight))
    precision, wanted = usual
    named = precision >= _BY_TYPE
    return NEWER if newer > wanted or (newer and newer == wanted and not named) else USUAL


def _ranges(accept: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    """Yield media type, `version` ('' without one) and weight of each range that can be read."""
    for one in ",".join(accept).split(","):
        media, *parameters = (part.strip().lower() for part in one.split(";"))
        given = {
            name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in parameters)
        }
        weight = given.get("q", "1")
        if media and _WEIGHT.fullmatch(weight):
            yield media, given.get("version", ""), float(weight)
