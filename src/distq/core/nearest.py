"""The nearest of the known names, for the message about a name that is not among them."""

from collections.abc import Collection
from typing import Final

NAMES_MAX: Final = 2_000
"""Maximum known names that are compared: two thousand take a few milliseconds, in which a master does nothing else."""
NEAR: Final = 0.6
"""How similar a name must be, from 0 to 1; the standard library's own default."""


def nearest(name: str, names: Collection[str]) -> str | None:
    """Return the known name that is the most similar one; None without a similar one, or among too many names."""
    import difflib  # noqa: PLC0415 - only a mistyped name pays for the import

    if len(names) >= NAMES_MAX:
        return None
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=NEAR)), None)


def did_you_mean(name: object, names: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the question after the nearest name, or a full stop."""
    near = nearest(name, names) if isinstance(name, str) else None
    return "." if near is None else f"; did you mean {near!r}?"
