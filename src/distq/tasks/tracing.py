"""OpenTelemetry traces: a submit and its runs are one trace, and each run is a span below the span of the submit.

This module uses OpenTelemetry only if another module has imported it: the program that submits, a module of a worker,
or the sitecustomize of `opentelemetry-instrument`. A process that does not trace pays only a look into `sys.modules`.
Names of spans and attributes: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, NamedTuple

from distq._version import __version__
from distq.core.constraints import HEADERS_BYTES_MAX, HEADERS_MAX, Headers, trace_id_of
from distq.core.outcome import Outcome
from distq.tasks.failure import TimeLimitExceeded

API: Final = "opentelemetry.trace"
"""The module that a process which traces has imported."""
_SYSTEM: Final = "distq"
_BAD: Final = (Outcome.FAILURE, Outcome.FATAL, Outcome.TIMEOUT)

EndSpan = Callable[[int, str], None]
"""Called with the end of a run: its outcome, and a failure's short text."""


class Attempt(NamedTuple):
    """The attributes of a run that its span records."""

    id: str
    name: str
    queue: str
    number: int
    """The number of the attempt, from 1."""
    delivery: int
    headers: Headers


def outgoing(queue: str, name: str) -> Headers:
    """The trace headers for a task that is submitted now; its span belongs to the current trace, or to a new one.

    There are no headers (an empty tuple) if this process does not trace.
    """
    if API not in sys.modules:
        return ()
    try:
        return _create(queue, name)
    except Exception:  # noqa: BLE001 - an error in a program's tracing must not stop its tasks
        return ()


def _create(queue: str, name: str) -> Headers:
    from opentelemetry import propagate, trace  # noqa: PLC0415 - see above

    carrier: dict[str, str] = {}
    attributes = {**_about(queue, name), "messaging.operation.type": "create"}
    tracer = trace.get_tracer(_SYSTEM, __version__)
    with tracer.start_as_current_span(f"create {name}", kind=trace.SpanKind.PRODUCER, attributes=attributes):
        propagate.inject(carrier)
    fits = len(carrier) <= HEADERS_MAX and sum(map(len, (*carrier, *carrier.values()))) <= HEADERS_BYTES_MAX // 2
    kept = carrier if fits else {name: text for name, text in carrier.items() if name == "traceparent"}
    return tuple(kept.items())


@contextmanager
def run_of(attempt: Attempt) -> Iterator[EndSpan]:
    """Trace one run of a task that has headers: a span below its submit's span, and a trace id in its log messages.

    The context yields the function to call with the end of the run. The task runs also if tracing fails.
    """
    with ExitStack() as stack:
        end_span: EndSpan = _no_span
        try:
            end_span = stack.enter_context(_span_of(attempt))
        except TimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001, S110 - as in `outgoing`
            pass
        yield end_span
        with suppress(Exception):
            stack.close()


def _no_span(_outcome: int, _text: str) -> None:
    pass


@contextmanager
def _span_of(attempt: Attempt) -> Iterator[EndSpan]:
    with _logging(attempt):
        if API not in sys.modules:
            yield _no_span
            return
        from opentelemetry import context, propagate, trace  # noqa: PLC0415 - see above

        token = context.attach(propagate.extract(dict(attempt.headers)))
        try:
            attributes: dict[str, str | int] = {
                **_about(attempt.queue, attempt.name),
                "messaging.operation.type": "process",
                "messaging.message.id": attempt.id,
                "distq.task.attempt": attempt.number,
                "distq.task.delivery": attempt.delivery,
            }
            tracer = trace.get_tracer(_SYSTEM, __version__)
            with tracer.start_as_current_span(
                f"process {attempt.name}", kind=trace.SpanKind.CONSUMER, attributes=attributes
            ) as span:

                def end_span(outcome: int, text: str) -> None:
                    if outcome in _BAD:
                        span.set_status(trace.StatusCode.ERROR, text)
                        span.set_attribute("error.type", text.partition(":")[0])

                yield end_span
        finally:
            context.detach(token)


def _about(queue: str, name: str) -> Mapping[str, str]:
    return {"messaging.system": _SYSTEM, "messaging.destination.name": queue, "distq.task.name": name}


@contextmanager
def _logging(attempt: Attempt) -> Iterator[None]:
    """Add the task's id and its trace id to the messages that the task logs with structlog, if structlog is used."""
    contextvars: Any = sys.modules.get("structlog.contextvars")
    if contextvars is None:
        yield
        return
    trace_id = trace_id_of(attempt.headers)
    with contextvars.bound_contextvars(task=attempt.id, **({"trace_id": trace_id} if trace_id else {})):
        yield
