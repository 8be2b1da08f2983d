"""Steps: what a client asks a master and does with the answers, without I/O.

A function that makes steps is a generator: it yields a request, and gets the answer, or the error instead of it. The
client of threads and the client of asyncio run the same steps, each with its own connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class MasterCall(NamedTuple):
    """A call of the master."""

    method: str
    args: tuple[object, ...]
    wait_s: float = 0.0
    """Seconds that the call asks the master to wait before it answers."""


class Pause(NamedTuple):
    """A pause, which has no answer."""

    pause_s: float


Steps = Generator[MasterCall, Any, R]
StepsWithPauses = Generator[MasterCall | Pause, Any, R]


def run(steps: Generator[Q, Any, R], ask: Callable[[Q], Any]) -> R:
    """Run steps whose requests `ask` answers, and return their result."""
    try:
        request = next(steps)
        while True:
            try:
                answer = ask(request)
            except BaseException as error:  # noqa: BLE001 - also Ctrl-C: the steps clean up
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


async def run_awaiting(steps: Generator[Q, Any, R], ask: Callable[[Q], Awaitable[Any]]) -> R:
    """As `run`, for an `ask` that is awaited; a client of threads would pay a coroutine for each submit."""
    try:
        request = next(steps)
        while True:
            try:
                answer = await ask(request)
            except BaseException as error:  # noqa: BLE001 - also Ctrl-C and a cancelled coroutine: the steps clean up
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result
