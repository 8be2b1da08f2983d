"""What travels in an exchange, as an executor sees it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from distq.core.errors import DistqError
from distq.core.task import Headers, Outcome
from distq.worker.executor.handler import Ran, failure
from distq.worker.shared.page import ExecutorPage

Settled = tuple[int, int, int, bytes | None, float, str] | tuple[int, int, int, bytes | None, float, str, float]
"""Task, delivery, outcome, body, seconds that it ran, a failure's short text, and the pause before its next run."""
Envelope = tuple[str, str, str, float | None]
"""Queue, name and kind of tasks, and their time limit in seconds."""
Leased = tuple[int, int, int, int, bytes]
"""Task, delivery, attempt, index of its envelope, payload."""
EMPTY: Final[Mapping[int, Any]] = MappingProxyType({})


class Handed(NamedTuple):
    """What an exchange has brought, as the master's `leased` packs it."""

    envelopes: Sequence[Envelope] = ()
    rows: Sequence[Leased] = ()
    cursors: Mapping[int, bytes] = EMPTY
    """What attempts before have left, by task."""
    befores: Mapping[int, tuple[int, bool]] = EMPTY
    """Of how many tasks one needs the results, by task."""
    headers: Mapping[int, Headers] = EMPTY
    """By task."""
    fenced: Sequence[int] = ()
    """Tasks that must end with their lease."""


def handed(reply: object) -> Handed:
    """The answer to an exchange; of a later master's what is understood here."""
    return Handed(*cast("tuple[Any, ...]", reply)[: len(Handed._fields)])


def answer_to(row: Leased, ran: Ran, run_s: float) -> Settled:
    """The answer to a leased task that has ended like this."""
    outcome, body, text, after_s = ran
    if outcome == Outcome.UNKNOWN:
        return row[0], row[1], outcome, None, 0.0, text
    answer = (row[0], row[1], outcome, body, run_s, text)
    return answer if after_s is None else (*answer, after_s)


def escaped(error: BaseException) -> Ran:
    """The outcome of a task out of which something has come that distq has not foreseen.

    Of the exception nothing is called but its type's name: its own methods may be what raised.
    """
    name = type(error).__name__
    return failure(DistqError(f"{name} came out of the task where its outcome was taken down; the task had begun."))


def counted(page: ExecutorPage, outcome: int, run_s: float) -> bool:
    """Count a task that has ended; whether it has failed."""
    if outcome in (Outcome.UNKNOWN, Outcome.SNOOZED, Outcome.RELEASED):
        page.releases(1)
        return False
    succeeded = outcome in (Outcome.SUCCESS, Outcome.DISCARDED)
    page.ran(int(succeeded), int(not succeeded), run_s)
    return not succeeded


def released(deliveries: Sequence[tuple[int, int]]) -> list[Settled]:
    """The answers that hand tasks back unstarted."""
    return [(task, delivery, Outcome.RELEASED, None, 0.0, "") for task, delivery in deliveries]
