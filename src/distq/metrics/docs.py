"""Writes the metrics reference from the catalogue."""

from collections.abc import Iterator

from distq.core.counters import BUCKETS_S
from distq.metrics.catalogue import METRICS, Metric, Place

INTRODUCTION = """\
# Metrics

<!-- Written by `python -m distq.metrics` from src/distq/metrics/catalogue.py. -->

Masters and workers serve `/metrics` at DISTQ_HTTP_ADDRESS, in Prometheus' text format. `/metrics` also contains the
`process_…` metrics of prometheus-client (CPU, memory, file descriptors).

Durations are in seconds, instants are Unix timestamps. Plain items count as the task `plain`. The first 200 pairs
of queue and task name have series of their own. Later names count as the task `other` of their queue, or, beyond 100
such queues, as the task `other` of the queue `other`. No series carries the name of a worker."""


def reference() -> str:
    """Return the text of the metrics reference, in Markdown."""
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS_S)
    lines = [INTRODUCTION, *_table("Master", "master"), *_table("Worker", "worker"), *_table("Both", "both")]
    return "\n".join([*lines, "", f"Histograms have buckets up to {bounds} seconds."]) + "\n"


def _table(title: str, place: Place) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| metric | kind | labels | description |", "|---|---|---|---|")
    yield from (_row(metric) for metric in METRICS if metric.place == place)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
