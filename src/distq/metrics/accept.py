"""Which version of the text format a scraper is answered in: 0.0.4, unless it has asked for 1.0.0 and prefers it.

Both are the same text here. Most scrapers know 0.0.4 alone, whatever they write into `Accept`, and leave out an answer
that says 1.0.0. What nobody has asked for is never sent.

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
    """The content type for the values of a request's `Accept` headers; what cannot be read in them is passed over."""
    usual, newer = (-1, 0.0), 0.0
    """Of 0.0.4 how precisely it was named and how much it is wanted; of 1.0.0 how much."""
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
    """Media type, `version` ('' without) and weight of each range that can be read."""
    for one in ",".join(accept).split(","):
        media, *parameters = (part.strip().lower() for part in one.split(";"))
        given = {
            name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in parameters)
        }
        weight = given.get("q", "1")
        if media and _WEIGHT.fullmatch(weight):
            yield media, given.get("version", ""), float(weight)
