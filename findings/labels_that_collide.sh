#!/usr/bin/env bash
# prometheus_client: two metrics (or labels) that the registry accepts become one for each scraper that wants no
# UTF-8.
#
# Version: prometheus_client 0.26.0.
#
# Behaviour: names with dots and the like are accepted, and are escaped only when a page is written, by what the
# scraper asks for. For a scraper that does not ask for `escaping=allow-utf-8` (Prometheus 2, most agents, curl) the
# registered `queue.ready` and `queue_ready` are both `queue_ready`, and labels `task.name` and `task_name` are
# twice `task_name` in one sample. The registry refuses duplicates by the unescaped name only. The library's own
# OpenMetrics parser refuses the page.
#
# Output seen:
#     allow-utf-8: {"queue.ready"} 2.0 | queue_ready 3.0 | ready{"task.name"="a",task_name="b"} 4.0
#     default:     queue_ready 2.0 | queue_ready 3.0 | ready{task_name="a",task_name="b"} 4.0
#     read by the library's own parser: ValueError
#
# Guess: what a registry accepts without an error is a page that every scraper can read.
#
# Why it matters for a task queue: metrics whose labels come from tasks and traces ("task.name" beside "task_name")
# look right in a new Prometheus. A reader that asks for no UTF-8 and is strict refuses the page, with all metrics
# of that worker.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client==0.26.0
"$folder/venv/bin/python" - <<'PY'
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

registry = CollectorRegistry()
Gauge("queue.ready", "Tasks ready.", registry=registry).set(2)
Gauge("queue_ready", "Tasks ready.", registry=registry).set(3)
Gauge("ready", "Tasks ready.", ["task.name", "task_name"], registry=registry).labels("a", "b").set(4)


def page(accept):
    encoder, _ = choose_encoder(accept)
    return encoder(registry).decode()


def samples(accept):
    return [line for line in page(accept).splitlines() if not line.startswith("#")]


openmetrics = "application/openmetrics-text; version=1.0.0"
asked, not_asked = samples(openmetrics + "; escaping=allow-utf-8"), samples("text/plain")
print("allow-utf-8:", " | ".join(asked))
print("default:    ", " | ".join(not_asked))
try:
    list(text_string_to_metric_families(page(openmetrics)))
    read = "accepted"
except ValueError as error:
    read = type(error).__name__
print("read by the library's own parser:", read)
assert len({line.rsplit(" ", 1)[0] for line in asked}) == 3, asked
assert [line.rsplit(" ", 1)[0] for line in not_asked[:2]] == ["queue_ready"] * 2, not_asked
assert not_asked[2].count("task_name=") == 2, not_asked
assert read == "ValueError"
PY
