"""Tells an exception that a signal handler raised from one of the code that the handler interrupted."""

from __future__ import annotations

import inspect
from types import FrameType


def raised_by_handler(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, as its traceback shows.

    Python calls a handler with the signal's number and the interrupted frame, which is also the frame before that of
    the handler; no other function is called so.
    """
    trace = error.__traceback__
    while trace is not None:
        if _is_of_handler(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _is_of_handler(frame: FrameType) -> bool:
    before = frame.f_back
    code = frame.f_code
    if before is None:
        return False
    found = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & inspect.CO_VARARGS:
        found += frame.f_locals.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount]) or ()
    return len(found) > 1 and found[-1] is before and isinstance(found[-2], int)
