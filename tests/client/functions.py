"""Functions that the client's tests submit; the fake masters never call them."""

import pickle
from typing import Any


def double(n: int) -> int:
    """Return twice the number."""
    return 2 * n


def anything(*args: Any, **kwargs: Any) -> Any:
    """Stand for any function; no test calls it."""
    return args, kwargs


class Plain:
    """An object of which a test keeps a weak reference."""


class Brittle:
    """An object that can be pickled, but whose unpickling raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Raise when the object is unpickled."""
        return _break, ()


def _break() -> None:
    raise LookupError("a part is missing")


class Lonely(Exception):
    """An exception whose class another program may lack."""


def bodies(*values: Any) -> list[bytes]:
    """Return the payloads of calls with one argument."""
    return [pickle.dumps(((value,), {}), 5) for value in values]


class Exits:
    """Raises when it is unpickled, as a guard or `sys.exit` in a module does."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Raise when the object is unpickled."""
        return _raise, (self.kind,)


def _raise(kind: type[BaseException]) -> None:
    raise kind


class Falsy(Exception):
    """An exception that is false in a condition."""

    def __bool__(self) -> bool:
        return False


class Empty(Exception):
    """An exception without a length, which is false in a condition too."""

    def __len__(self) -> int:
        return 0
