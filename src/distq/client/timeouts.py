"""Reads the timeouts that programs pass: seconds, a timedelta, or None for no limit."""

from __future__ import annotations

import math
import threading
from datetime import timedelta
from numbers import Number

from distq.core.ranges import shown

Timeout = float | timedelta | None
"""A number of seconds, a timedelta, or None for no limit."""


def timeout_s(timeout: Timeout) -> float | None:
    """The timeout in seconds, None for no limit; a negative one has passed already.

    Raises:
        TypeError: it is not a number, a timedelta or None.
        ValueError: it is not a number of seconds (NaN).
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        seconds = timeout.total_seconds()
    elif isinstance(timeout, Number) and not isinstance(timeout, bool | complex):
        try:
            seconds = float(timeout)
        except OverflowError:  # a whole number beyond the range of a float
            seconds = math.inf if timeout > 0 else -math.inf
    else:
        raise TypeError(_sentence(timeout))
    if math.isnan(seconds):
        raise ValueError(_sentence(timeout))
    return seconds if seconds <= threading.TIMEOUT_MAX else None  # 292 years: the longest wait of the system


def _sentence(timeout: object) -> str:
    return f"a timeout is a number of seconds, a timedelta, or None for no limit, not {shown(timeout)}"
