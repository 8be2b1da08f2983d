"""Errors of calls that a client cannot send."""

from __future__ import annotations

from distq.core.errors import DistqError


class NotPicklable(DistqError, TypeError):
    """An argument of the task, or a function that travels by value, cannot be pickled, so the client cannot send it."""

    code = "NOT_PICKLABLE"
    hint = "Pass values from which the task can make it instead: a path, a name, plain values."
    exit_code = 2


class ClassOfMain(NotPicklable):
    """An argument has a class that the program defines in `__main__`, which workers cannot import."""

    code = "CLASS_OF_MAIN"
    hint = "Move the class to a module that workers can import, pass plain values, or use Client(by_value=True)."


class ExtraMissing(DistqError, ImportError):
    """The program uses a part of distq that needs another package, which an extra of distq installs."""

    code = "EXTRA_MISSING"
    hint = "Install distq with the extra that the message names."
    exit_code = 2
