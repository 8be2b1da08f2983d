"""Runs of tasks that have headers: each is a span of its trace, if the worker's code traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distq.core.constraints import Headers
from distq.core.outcome import Outcome
from distq.core.task import delivery_count
from distq.core.task_ids import id_text
from distq.tasks.tracing import Attempt, EndSpan, run_of

if TYPE_CHECKING:
    from distq.protocol.exchange import LeasedEnvelope, LeasedTask
    from distq.worker.executor.functions import CoroutineRunner, PayloadRunner
    from distq.worker.executor.handler import RunOutcome


def attempt_of(row: LeasedTask, envelope: LeasedEnvelope, headers: Headers) -> Attempt:
    """What a trace records of a run."""
    task, delivery, number, *_ = row
    queue, name, *_ = envelope
    return Attempt(id_text(task), name, queue, number, delivery_count(delivery), headers)


def traced(run: PayloadRunner, attempt: Attempt) -> PayloadRunner:
    """How to run a payload, as a span."""

    def run_traced(payload: bytes) -> bytes | RunOutcome:
        with run_of(attempt) as end_span:
            return _with_span_ended(end_span, run(payload))

    return run_traced


def traced_on_loop(run: CoroutineRunner, attempt: Attempt) -> CoroutineRunner:
    """As `traced`, of a coroutine function on a loop."""

    async def run_traced(payload: bytes, why_cancelled: Callable[[], BaseException | None]) -> bytes | RunOutcome:
        with run_of(attempt) as end_span:
            return _with_span_ended(end_span, await run(payload, why_cancelled))

    return run_traced


def _with_span_ended(end_span: EndSpan, ran: bytes | RunOutcome) -> bytes | RunOutcome:
    if isinstance(ran, bytes):
        end_span(Outcome.SUCCESS, "")
    else:
        end_span(ran.outcome, ran.text)
    return ran
