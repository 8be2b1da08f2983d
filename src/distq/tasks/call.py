"""A call that is not submitted yet: what chains and groups are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar, Unpack, overload

from distq.tasks.function import task
from distq.tasks.options import SubmitKeywords, checked_to_send

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Unfinished = Awaitable[R] | Generator[Any, Any, R]
"""What a coroutine function or a generator function returns: the executor runs it to its end, whose value is the result
of the task."""

GATHERED: Final = "distq.gathered"
NOTHING: Final = "distq.nothing"


class Call(NamedTuple, Generic[R_co]):
    """A function, its arguments, and options that go before those of its decorator and of the client."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    given: Mapping[str, Any] = {}

    def options(self, **options: Unpack[SubmitKeywords]) -> Call[R_co]:
        """The same call with other options, as `client.options` takes them.

        Raises:
            TypeError: there is no such option, or a value is of the wrong kind.
            ValueError: a value is out of range.
        """
        checked_to_send(options)
        return self._replace(given={**self.given, **options})


@overload
def call(fn: Callable[..., Unfinished[R]], /, *args: Any, **kwargs: Any) -> Call[R]: ...
@overload
def call(fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Call[R]: ...
def call(fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Call[R]:
    """`fn(*args, **kwargs)`, to be run as a part of a chain or a group.

        client.chain(distq.call(fetch, url), distq.call(parse), distq.call(store, table="pages"))

    Where it comes after others, their result, or the list of their results, is its first argument, before `args`.
    """
    return Call(fn, args, kwargs)


@task(name=GATHERED)
def gathered(results: list[T]) -> list[T]:
    """What a group without a callback of its own comes to: its results, in order."""
    return results


@task(name=NOTHING)
def nothing(_before: object) -> list[Any]:
    """What a stage of no calls comes to, after another stage."""
    return []
