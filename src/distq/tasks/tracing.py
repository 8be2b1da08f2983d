"""OpenTelemetry: a submit and its runs are one trace, each run a span of its own below that of the submit.

Nothing here imports OpenTelemetry first. Who uses it has imported it already, the program that submits as well as the
modules of a worker (or the sitecustomize of `opentelemetry-instrument`); for all others a look into `sys.modules` is
what it costs. Names of spans and attributes: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
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
"""What a process has imported that traces."""
_SYSTEM: Final = "distq"
_BAD: Final = (Outcome.FAILURE, Outcome.FATAL, Outcome.TIMEOUT)

EndSpan = Callable[[int, str], None]
"""Takes how a run has ended: its outcome, and a failure's short text."""


class Attempt(NamedTuple):
    """What a span tells of a run."""

    id: str
    name: str
    queue: str
    number: int
    """From 1."""
    delivery: int
    headers: Headers


def outgoing(queue: str, name: str) -> Headers:
    """The headers of a task that is submitted now: it is a span of the trace that is under way here, or of a new one.

    None if this process does not trace.
    """
    if API not in sys.modules:
        return ()
    try:
        return _create(queue, name)
    except Exception:  # noqa: BLE001 - whatever is wrong with a program's traces, its tasks go on
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
    """One run of a task that has headers: a span below that of its submit, and a trace id on the log lines it writes.

    The function that this gives is told how the run has ended. Whatever is wrong with traces here, the task runs.
    """
    with ExitStack() as stack:
        tell: EndSpan = _say_nothing
        try:
            tell = stack.enter_context(_span_of(attempt))
        except TimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001, S110 - as in `outgoing`
            pass
        yield tell
        with suppress(Exception):
            stack.close()


def _say_nothing(_outcome: int, _text: str) -> None:
    pass


@contextmanager
def _span_of(attempt: Attempt) -> Iterator[EndSpan]:
    with _logging(attempt):
        if API not in sys.modules:
            yield _say_nothing
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

                def tell(outcome: int, text: str) -> None:
                    if outcome in _BAD:
                        span.set_status(trace.StatusCode.ERROR, text)
                        span.set_attribute("error.type", text.partition(":")[0])

                yield tell
        finally:
            context.detach(token)


def _about(queue: str, name: str) -> Mapping[str, str]:
    return {"messaging.system": _SYSTEM, "messaging.destination.name": queue, "distq.task.name": name}


@contextmanager
def _logging(attempt: Attempt) -> Iterator[None]:
    """Lines that the task writes by structlog carry its id and its trace's, if it uses that."""
    contextvars: Any = sys.modules.get("structlog.contextvars")
    if contextvars is None:
        yield
        return
    trace_id = trace_id_of(attempt.headers)
    with contextvars.bound_contextvars(task=attempt.id, **({"trace_id": trace_id} if trace_id else {})):
        yield
