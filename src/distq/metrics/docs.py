"""The metrics reference, written from the catalogue."""

from collections.abc import Iterator

from distq.core.counters import BUCKETS_S
from distq.metrics.catalogue import METRICS, Metric, Place

INTRODUCTION = """\
# Metrics

<!-- Written by `python -m distq.metrics` from src/distq/metrics/catalogue.py. -->

Masters and workers serve `/metrics` at DISTQ_HTTP_ADDRESS, in Prometheus' text format. Besides what is listed
here there are prometheus-client's own `process_…` metrics (CPU, memory, file descriptors).

Times are seconds, points in time are Unix timestamps. Plain items count as the task `plain`. The first 200 pairs
of queue and task name have series of their own; later names count as the task `other` of their queue, and beyond 100
such queues as the task `other` of the queue `other`. No series carries the name of a worker."""


def reference() -> str:
    """The text of the metrics reference, in Markdown."""
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS_S)
    lines = [INTRODUCTION, *_table("Master", "master"), *_table("Worker", "worker"), *_table("Both", "both")]
    return "\n".join([*lines, "", f"Histograms have buckets up to {bounds} seconds."]) + "\n"


def _table(title: str, place: Place) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| metric | kind | labels | what |", "|---|---|---|---|")
    yield from (_row(metric) for metric in METRICS if metric.place == place)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
