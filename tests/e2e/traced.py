"""The program and the tasks of test_traces.py; both keep their spans in memory.

As a program, this module submits tasks, and prints its spans and the results as JSON.
"""

import json
import os
import sys
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import distq

exporter = InMemorySpanExporter()
if __name__ in {"__main__", "tests.e2e.traced"}:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def spans() -> list[dict[str, Any]]:
    """Return the spans of this process so far."""
    return [_as_record(span) for span in exporter.get_finished_spans()]


def _as_record(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    assert context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": f"{context.trace_id:032x}",
        "span": f"{context.span_id:016x}",
        "parent": None if parent is None else f"{parent.span_id:016x}",
        "status": span.status.status_code.name,
        "why": span.status.description,
        "attributes": dict(span.attributes or {}),
    }


@distq.task(retries=1)
def fails_once(tenant: str) -> list[Any]:
    """Fail once; then return the headers and the context of a log event within a span."""
    run = distq.current()
    if run.attempt == 1:
        raise ValueError("not yet")
    with trace.get_tracer("own").start_as_current_span("within"):
        bound = structlog.contextvars.get_contextvars()
    assert run.headers["tenant"] == tenant
    return [run.headers, bound]


async def coroutine() -> str:
    """Return the id of the trace around the task."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def current_trace() -> str:
    """Return the id of the trace around the task."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def joined(*_before: Any) -> str:
    """Return the same at the end of a chain."""
    return current_trace()


def main(address: str) -> None:
    """Submit several tasks, and print their spans and results."""
    from tests.e2e import traced as tasks  # noqa: PLC0415 - by the name that workers know

    with distq.Client(address, os.environ["DISTQ_AUTHKEY"]) as client:
        with trace.get_tracer("own").start_as_current_span("request"):
            future = client.options(headers={"tenant": "acme"}).submit(tasks.fails_once, "acme")
        headers, bound = future.result(20)
        alone = client.submit(tasks.coroutine).result(20)
        chained = client.chain(distq.call(tasks.current_trace), distq.call(tasks.joined)).result(20)
        record = {"ours": spans(), "headers": headers, "bound": bound, "alone": alone, "chained": chained}
        record |= {"task": future.task_id, "theirs": client.submit(tasks.spans).result(20)}
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
