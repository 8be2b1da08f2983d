"""Functions that the client's tests submit; the fake masters never call them."""

import pickle
from typing import Any


def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


def anything(*args: Any, **kwargs: Any) -> Any:
    """Whatever a test says."""
    return args, kwargs


class Brittle:
    """Can be pickled, and not be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Raise when it is made anew."""
        return _break, ()


def _break() -> None:
    raise LookupError("a part is missing")


class Lonely(Exception):
    """An exception that another program may lack."""


def bodies(*values: Any) -> list[bytes]:
    """The payloads of calls with one argument."""
    return [pickle.dumps(((value,), {}), 5) for value in values]


class Exits:
    """Raises when it is unpickled, as a guard or `sys.exit` in a module does."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Raise when it is made anew."""
        return _raise, (self.kind,)


def _raise(kind: type[BaseException]) -> None:
    raise kind
