"""Writes Prometheus' alerting rules: `python -m deploy.prometheus.alerts`, into helm/files/rules.

They are written here once, as code, and the file is committed; a test fails when the two differ. The file lies in the
chart because a chart cannot read outside of itself; Compose mounts it from there. Each alert has a section in
docs/how-to/runbook.md, of its name in small letters: what to look at, and what to do.

Expressions hold on Prometheus 2 and 3: none depends on whether a range includes its left end. They sum by namespace,
which series have on Kubernetes alone; elsewhere that label is empty, and everything is one.
"""
# ruff: noqa: INP001 - a program, not a package

from pathlib import Path
from typing import Any, NamedTuple

import yaml

FILE = Path(__file__).resolve().parents[2] / "helm" / "files" / "rules" / "distq.yaml"
RUNBOOK = Path("docs") / "how-to" / "runbook.md"

QUEUE = "by (namespace, queue)"
POOL = "by (namespace, pool)"
READY = f'sum {QUEUE} (distq_queue_tasks{{state="ready"}})'


class Alert(NamedTuple):
    """One alert; `fault` is what makes it speak."""

    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    fault: str


ALERTS = (
    Alert(
        "DistqMasterDown",
        'absent(distq_build_info{component="master"}) or max by (namespace) (distq_worker_connected) == 0',
        "2m",
        "critical",
        "No master answers: nothing is given out, and submits wait.",
        "the master is stopped",
    ),
    Alert(
        "DistqNoWorkersForNonEmptyQueue",
        f'({READY} > 0) unless (sum {QUEUE} (distq_queue_tasks{{state="leased"}}) > 0)'
        f" unless (sum {QUEUE} (rate(distq_task_attempts_total[5m])) > 0)"
        f" unless (sum {QUEUE} (distq_queue_paused) > 0)",
        "5m",
        "critical",
        "Tasks of the queue {{ $labels.queue }} are ready, and nobody runs any.",
        "no worker serves a queue",
    ),
    Alert(
        "DistqOldestTaskTooOld",
        f"time() - min {QUEUE} (distq_queue_oldest_task_enqueued_timestamp_seconds) > 600",
        "5m",
        "warning",
        "The first task of the queue {{ $labels.queue }} is ready for {{ $value | humanizeDuration }}.",
        "workers are too few or too slow",
    ),
    Alert(
        "DistqQueueGrowing",
        f"({READY} > 100) and (sum {QUEUE} (rate(distq_tasks_submitted_total[15m]))"
        f" > 1.1 * sum {QUEUE} (rate(distq_tasks_completed_total[15m])))",
        "15m",
        "warning",
        "More comes into the queue {{ $labels.queue }} than is done: {{ $value }} are ready.",
        "more is submitted than done",
    ),
    Alert(
        "DistqTimeToDrainTooLong",
        f"({READY} > 0) / sum {QUEUE} (rate(distq_tasks_completed_total[15m])) > 3600",
        "15m",
        "warning",
        "What is ready in the queue {{ $labels.queue }} takes {{ $value | humanizeDuration }} at the present pace.",
        "a backlog that workers need over an hour for",
    ),
    Alert(
        "DistqQueueNearCapacity",
        f"(sum {QUEUE} (distq_queue_tasks) + sum {QUEUE} (distq_dead_letter_tasks))"
        f" / sum {QUEUE} (distq_queue_capacity_tasks) > 0.9",
        "5m",
        "critical",
        "The queue {{ $labels.queue }} is {{ $value | humanizePercentage }} full; full, it refuses submits.",
        "a small capacity is used up",
    ),
    Alert(
        "DistqSubmitsRejected",
        'sum by (namespace, queue, reason) (increase(distq_tasks_rejected_total{reason=~"full|kept"}[10m])) > 0',
        "0m",
        "critical",
        "Submits to the queue {{ $labels.queue }} were refused: {{ $labels.reason }}.",
        "a queue is full",
    ),
    Alert(
        "DistqFailureRatioHigh",
        'sum by (namespace, queue, task) (rate(distq_task_attempts_total{outcome=~"failure|timeout"}[10m]))'
        " / (sum by (namespace, queue, task) (rate(distq_task_attempts_total[10m])) > 0) > 0.1",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the attempts at {{ $labels.task }} fail.",
        "a task fails",
    ),
    Alert(
        "DistqRedeliveriesHigh",
        f"sum {QUEUE} (rate(distq_task_redeliveries_total[15m]))"
        f" / (sum {QUEUE} (rate(distq_task_attempts_total[15m])) > 0) > 0.05",
        "15m",
        "warning",
        "{{ $value | humanizePercentage }} of the deliveries of the queue {{ $labels.queue }} are lost.",
        "executors or workers die",
    ),
    Alert(
        "DistqDeadLettersGrowing",
        'sum by (namespace, queue, task) (increase(distq_tasks_completed_total{outcome="dead"}[15m])) > 0',
        "0m",
        "warning",
        "{{ $value | humanize }} tasks {{ $labels.task }} have failed for good within a quarter of an hour.",
        "a task fails for good",
    ),
    Alert(
        "DistqDeadLettersNearTheirLimit",
        "sum by (namespace) (distq_dead_letter_tasks)"
        " / on (namespace) sum by (namespace) (distq_dead_letters_max_tasks) > 0.9",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the dead letters that are kept are there; beyond it the oldest go.",
        "dead letters are soon dropped",
    ),
    Alert(
        "DistqLeaseExpiriesHigh",
        f"sum {POOL} (increase(distq_leases_expired_total[15m])) > 3",
        "0m",
        "warning",
        "Leases of the pool {{ $labels.pool }} ended because its workers fell silent.",
        "a worker is frozen, or cut off",
    ),
    Alert(
        "DistqWorkersSaturated",
        f'(sum {POOL} (distq_worker_slots{{state="busy"}}) / (sum {POOL} (distq_worker_slots) > 0) > 0.95)'
        ' and on (namespace) (sum by (namespace) (distq_queue_tasks{state="ready"}) > 0)',
        "15m",
        "warning",
        "The slots of the pool {{ $labels.pool }} are all busy, and tasks wait.",
        "tasks come faster than slots are free",
    ),
    Alert(
        "DistqExecutorOutOfMemory",
        f'sum {POOL} (increase(distq_worker_executor_exits_total{{cause="oom"}}[15m])) > 0',
        "0m",
        "warning",
        "Executors of the pool {{ $labels.pool }} were ended for want of memory.",
        "a task takes too much memory",
    ),
    Alert(
        "DistqWorkerFlapping",
        f"sum {POOL} (changes(distq_worker_connected[15m])) > 6"
        f' or sum {POOL} (increase(distq_worker_executor_exits_total{{cause=~"crash|signal"}}[15m])) > 10',
        "0m",
        "warning",
        "Workers of the pool {{ $labels.pool }} come and go, or their executors die again and again.",
        "executors die again and again",
    ),
    Alert(
        "DistqVersionSkew",
        "count by (namespace) (count by (namespace, version) (distq_build_info)) > 1",
        "1h",
        "info",
        "Several versions of distq have been at work for an hour.",
        "a worker of another version is connected",
    ),
    Alert(
        "DistqStoreDiskWillFill",
        "predict_linear(distq_store_volume_free_bytes[1h], 4 * 3600) < 0"
        " or distq_store_volume_free_bytes < 256 * 1024 * 1024",
        "15m",
        "critical",
        "The volume of the store is full within four hours, or has less than 256 MiB left.",
        "the volume fills up",
    ),
    Alert(
        "DistqCommitSlow",
        "histogram_quantile(0.99, sum by (namespace, le) (rate(distq_store_commit_seconds_bucket[5m]))) > 0.5",
        "5m",
        "warning",
        "One commit of a hundred takes {{ $value | humanizeDuration }}: whoever submits or settles waits for it.",
        "the disk is slow",
    ),
    Alert(
        "DistqStoreNotReady",
        "max by (namespace) (distq_store_ready) == 0",
        "1m",
        "critical",
        "The store takes no new tasks: it has no room, or is too slow.",
        "the volume is full",
    ),
    Alert(
        "DistqMasterOverloaded",
        "histogram_quantile(0.99, sum by (namespace, le) (rate(distq_event_loop_lag_seconds_bucket[5m]))) > 0.25",
        "10m",
        "warning",
        "The master's event loop is late by {{ $value | humanizeDuration }}: it has more to do than one core can.",
        "the master has no processor time",
    ),
    Alert(
        "DistqInternalErrors",
        "sum by (namespace, place) (increase(distq_internal_errors_total[15m])) > 0",
        "0m",
        "warning",
        "The master failed at a request by an error of its own (at: {{ $labels.place }}); everything else goes on.",
        "a request comes upon an error of distq",
    ),
    Alert(
        "DistqScheduleFaulty",
        'sum by (namespace) (distq_schedules{state="faulty"}) > 0',
        "5m",
        "warning",
        "{{ $value }} schedules submit nothing, because when they come next cannot be worked out.",
        "a schedule's time zone is missing",
    ),
    Alert(
        "DistqClockStepped",
        "sum by (namespace) (increase(distq_clock_steps_total[15m])) > 0",
        "0m",
        "warning",
        "The clock of the master's machine was set while the master ran, or the machine was asleep.",
        "the machine's clock is set",
    ),
    Alert(
        "DistqAuthFailures",
        "sum by (namespace) (increase(distq_auth_failures_total[10m])) > 5",
        "0m",
        "warning",
        "Somebody connects again and again without the key.",
        "a peer has a wrong key",
    ),
    Alert(
        "DistqQueuePaused",
        f"max {QUEUE} (distq_queue_paused) > 0",
        "1h",
        "info",
        "The queue {{ $labels.queue }} has been paused for an hour.",
        "somebody has paused a queue",
    ),
)


def section(alert: Alert) -> str:
    """The anchor of an alert's section in the runbook."""
    return alert.name.lower()


def rule(alert: Alert) -> dict[str, Any]:
    """An alert as Prometheus reads it."""
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook": f"{RUNBOOK}#{section(alert)}"},
    }


def rendered() -> str:
    """The file of rules."""
    groups = {"groups": [{"name": "distq", "rules": [rule(alert) for alert in ALERTS]}]}
    head = "# Written by `python -m deploy.prometheus.alerts`: change that.\n"
    return head + yaml.safe_dump(groups, sort_keys=False, width=1_000)


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
