"""The executor's side of an exchange: makes settlements out of the outcomes of runs."""

from collections.abc import Iterable
from typing import Final

from distq.core.errors import DistqError
from distq.core.outcome import Outcome
from distq.protocol.exchange import LeasedTask, Settlement
from distq.worker.executor.handler import RunOutcome, failure
from distq.worker.shared.lease_id import LeaseId

WAIT_S: Final = 10.0
"""Maximum seconds for which the master may keep an exchange until there is a task to lease."""
ANSWER_S: Final = 20.0
"""Maximum seconds beyond that for the master's answer; then the connection counts as lost."""
LEASE_WAIT_S: Final = 0.25
"""Seconds that a lease-bound task waits until its lease is known to hold; then the executor releases it."""

OUTDATED: Final = "The file of the worker's key has another one now: the executor connects again."


def lease_id_of(row: LeasedTask | Settlement) -> LeaseId:
    """The lease of a leased task, or the one that a settlement settles."""
    return LeaseId(row[0], row[1])


def settlement_of(row: LeasedTask, ran: RunOutcome, run_s: float) -> Settlement:
    """Settle the lease of a task whose run has ended with this outcome."""
    outcome, body, text, delay_s = ran
    if outcome == Outcome.UNKNOWN:
        return row[0], row[1], outcome, None, 0.0, text
    settlement = (row[0], row[1], outcome, body, run_s, text)
    return settlement if delay_s is None else (*settlement, delay_s)


def released(lease_ids: Iterable[LeaseId]) -> list[Settlement]:
    """Settle leases whose tasks have not begun: the master gives these tasks out again."""
    return [(task_key, delivery, Outcome.RELEASED, None, 0.0, "") for task_key, delivery in lease_ids]


def escaped(error: BaseException) -> RunOutcome:
    """The outcome of a task whose exception escaped the code that records outcomes.

    The exception's own methods may be what raised, so only the name of its type is read.
    """
    name = type(error).__name__
    return failure(DistqError(f"{name} came out of the task where its outcome was taken down; the task had begun."))
