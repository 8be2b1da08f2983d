"""Adds to click's error about an option's value what to give instead."""

import re
from typing import Final

import click

from distq.core.nearest import nearest

_REFUSED: Final = re.compile(r"(?P<value>.+?) is not (?:one of|a valid integer)\b", re.DOTALL)
"""The beginning of click's sentences about a value that is none of the choices, or no whole number."""
_EXAMPLE: Final = 1000


def with_advice(error: click.BadParameter) -> click.BadParameter:
    """Return the error with the nearest choice, or with an example of a whole number."""
    kind = error.param.type if error.param is not None else None
    refused = _REFUSED.match(error.message)
    if refused is None:
        return error
    if isinstance(kind, click.Choice):
        near = nearest(refused["value"][1:-1].lower(), list(map(str, kind.choices)))
        message = error.message if near is None else f"{error.message.rstrip('.')}. Did you mean {near!r}?"
    elif isinstance(kind, click.IntRange):
        most = kind.max
        example = _EXAMPLE if most is None else min(_EXAMPLE, int(most))
        message = f"{refused['value']} is not a whole number, such as {example}."
    else:
        return error
    return click.BadParameter(message, error.ctx, error.param, error.param_hint)
