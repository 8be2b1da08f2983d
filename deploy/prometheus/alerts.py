"""Writes the alerting rules of Prometheus to helm/files/rules: `python -m deploy.prometheus.alerts`.

The rules are defined here as code. The generated file is committed, and a test fails when it differs from the output of
this program. The file is part of the chart because Helm reads no file outside the chart; Compose mounts it from there.
Each alert has a section in docs/how-to/runbook.md, whose anchor is the alert's name in lower case.

The expressions give the same result on Prometheus 2 and 3: none depends on whether a range includes its left end. They
group by namespace. Only series from Kubernetes have that label; elsewhere it is empty, and all series form one group.
"""
# ruff: noqa: INP001 - a program, not a package

from pathlib import Path
from typing import Any, NamedTuple

import yaml

FILE = Path(__file__).resolve().parents[2] / "helm" / "files" / "rules" / "distq.yaml"
RUNBOOK = Path("docs") / "how-to" / "runbook.md"

QUEUE = "by (namespace, queue)"
POOL = "by (namespace, pool)"
SERVICE = "by (namespace, job)"
"""The masters of one installation: a namespace may have several."""
READY = f'sum {QUEUE} (distq_queue_tasks{{state="ready"}})'


class Alert(NamedTuple):
    """One alert; `fault` is the situation in which it fires, as the tests name it."""

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
        "No master is reachable: no task is leased, and submits wait.",
        "the master is stopped",
    ),
    Alert(
        "DistqNoLeader",
        f"max {SERVICE} (distq_leader) == 0",
        "1m",
        "critical",
        "Masters stand by, and none leads: no task is leased, and submits wait.",
        "no master can lead",
    ),
    Alert(
        "DistqTwoLeaders",
        f"sum {SERVICE} (distq_leader) > 1",
        "2m",
        "critical",
        "{{ $value }} masters say that they lead.",
        "two masters of one Service are on different databases",
    ),
    Alert(
        "DistqNoStandby",
        f"max {SERVICE} (distq_standby_masters) == 0 and max {SERVICE} (max_over_time(distq_standby_masters[1d])) > 0",
        "10m",
        "warning",
        "No master could take over from the leader; within the last day one could.",
        "the standbys are stopped",
    ),
    Alert(
        "DistqStandbyTooFarBehind",
        f"max {SERVICE} (distq_standby_lag_seconds) > 60",
        "5m",
        "warning",
        "A standby has not known all tasks for {{ $value | humanizeDuration }}: a takeover would wait for it.",
        "a standby cannot follow the leader",
    ),
    Alert(
        "DistqNoWorkersForNonEmptyQueue",
        f'({READY} > 0) unless (sum {QUEUE} (distq_queue_tasks{{state="leased"}}) > 0)'
        f" unless (sum {QUEUE} (rate(distq_task_attempts_total[5m])) > 0)"
        f" unless (sum {QUEUE} (distq_queue_paused) > 0)",
        "5m",
        "critical",
        "Tasks of the queue {{ $labels.queue }} are ready, and no worker runs any of them.",
        "no worker serves a queue",
    ),
    Alert(
        "DistqOldestTaskTooOld",
        f"time() - min {QUEUE} (distq_queue_oldest_task_enqueued_timestamp_seconds) > 600",
        "5m",
        "warning",
        "The oldest ready task of the queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.",
        "the workers are too few or too slow",
    ),
    Alert(
        "DistqQueueGrowing",
        f"({READY} > 100) and (sum {QUEUE} (rate(distq_tasks_submitted_total[15m]))"
        f" > 1.1 * sum {QUEUE} (rate(distq_tasks_completed_total[15m])))",
        "15m",
        "warning",
        "The queue {{ $labels.queue }} receives more tasks than its workers complete: {{ $value }} tasks are ready.",
        "clients submit more tasks than workers complete",
    ),
    Alert(
        "DistqTimeToDrainTooLong",
        f"({READY} > 0) / sum {QUEUE} (rate(distq_tasks_completed_total[15m])) > 3600",
        "15m",
        "warning",
        "At the present rate the ready tasks of the queue {{ $labels.queue }} take {{ $value | humanizeDuration }}.",
        "the workers need over an hour for the backlog",
    ),
    Alert(
        "DistqQueueNearCapacity",
        f"(sum {QUEUE} (distq_queue_tasks) + sum {QUEUE} (distq_dead_letter_tasks))"
        f" / sum {QUEUE} (distq_queue_capacity_tasks) > 0.9",
        "5m",
        "critical",
        "The queue {{ $labels.queue }} is {{ $value | humanizePercentage }} full; a full queue refuses submits.",
        "a small capacity is used up",
    ),
    Alert(
        "DistqSubmitsRejected",
        'sum by (namespace, queue, reason) (increase(distq_tasks_rejected_total{reason=~"full|kept"}[10m])) > 0',
        "0m",
        "critical",
        "The master refused submits to the queue {{ $labels.queue }}; reason: {{ $labels.reason }}.",
        "a queue is full",
    ),
    Alert(
        "DistqFailureRatioHigh",
        'sum by (namespace, queue, task) (rate(distq_task_attempts_total{outcome=~"failure|timeout"}[10m]))'
        " / (sum by (namespace, queue, task) (rate(distq_task_attempts_total[10m])) > 0) > 0.1",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the attempts of the task {{ $labels.task }} fail.",
        "a task fails",
    ),
    Alert(
        "DistqRedeliveriesHigh",
        f"sum {QUEUE} (rate(distq_task_redeliveries_total[15m]))"
        f" / (sum {QUEUE} (rate(distq_task_attempts_total[15m])) > 0) > 0.05",
        "15m",
        "warning",
        "{{ $value | humanizePercentage }} of the deliveries from the queue {{ $labels.queue }} are lost.",
        "executors or workers die",
    ),
    Alert(
        "DistqDeadLettersGrowing",
        'sum by (namespace, queue, task) (increase(distq_tasks_completed_total{outcome="dead"}[15m])) > 0',
        "0m",
        "warning",
        "{{ $value | humanize }} tasks {{ $labels.task }} became dead letters in the last 15 minutes.",
        "a task becomes a dead letter",
    ),
    Alert(
        "DistqDeadLettersNearTheirLimit",
        "sum by (namespace) (distq_dead_letter_tasks)"
        " / on (namespace) sum by (namespace) (distq_dead_letters_max_tasks) > 0.9",
        "5m",
        "warning",
        "Dead letters are at {{ $value | humanizePercentage }} of their limit; at the limit the oldest are deleted.",
        "dead letters are close to their limit",
    ),
    Alert(
        "DistqLeaseExpiriesHigh",
        f"sum {POOL} (increase(distq_leases_expired_total[15m])) > 3",
        "0m",
        "warning",
        "Leases of the pool {{ $labels.pool }} expired because its workers sent no heartbeats.",
        "a worker is frozen or disconnected",
    ),
    Alert(
        "DistqWorkersSaturated",
        f'(sum {POOL} (distq_worker_slots{{state="busy"}}) / (sum {POOL} (distq_worker_slots) > 0) > 0.95)'
        ' and on (namespace) (sum by (namespace) (distq_queue_tasks{state="ready"}) > 0)',
        "15m",
        "warning",
        "All slots of the pool {{ $labels.pool }} are busy, and tasks wait.",
        "tasks arrive faster than slots become free",
    ),
    Alert(
        "DistqExecutorOutOfMemory",
        f'sum {POOL} (increase(distq_worker_executor_exits_total{{cause="oom"}}[15m])) > 0',
        "0m",
        "warning",
        "Executors of the pool {{ $labels.pool }} were killed because they ran out of memory.",
        "a task uses too much memory",
    ),
    Alert(
        "DistqWorkerFlapping",
        f"sum {POOL} (changes(distq_worker_connected[15m])) > 6"
        f' or sum {POOL} (increase(distq_worker_executor_exits_total{{cause=~"crash|signal"}}[15m])) > 10',
        "0m",
        "warning",
        "Workers of the pool {{ $labels.pool }} reconnect, or their executors crash, again and again.",
        "executors crash again and again",
    ),
    Alert(
        "DistqVersionSkew",
        "count by (namespace) (count by (namespace, version) (distq_build_info)) > 1",
        "1h",
        "info",
        "Several versions of distq have been running for an hour.",
        "a worker of another version is connected",
    ),
    Alert(
        "DistqStoreDiskWillFill",
        "predict_linear(distq_store_volume_free_bytes[1h], 4 * 3600) < 0"
        " or distq_store_volume_free_bytes < 256 * 1024 * 1024",
        "15m",
        "critical",
        "The volume of the store will be full within four hours, or has less than 256 MiB free.",
        "the volume fills up",
    ),
    Alert(
        "DistqCommitSlow",
        "histogram_quantile(0.99, sum by (namespace, le) (rate(distq_store_commit_seconds_bucket[5m]))) > 0.5",
        "5m",
        "warning",
        "The slowest 1% of commits take over {{ $value | humanizeDuration }}; submits and results wait for them.",
        "the disk is slow",
    ),
    Alert(
        "DistqStoreNotReady",
        "max by (namespace) (distq_store_ready) == 0",
        "1m",
        "critical",
        "The store accepts no new tasks: its volume is full or too slow.",
        "the volume is full",
    ),
    Alert(
        "DistqStoreRefusesCommits",
        "sum by (namespace) (increase(distq_store_refusals_total[15m])) > 0",
        "0m",
        "warning",
        "The store refused commits: its volume is full, or it refuses what one request holds.",
        "the store refuses a request",
    ),
    Alert(
        "DistqMasterOverloaded",
        "histogram_quantile(0.99, sum by (namespace, le) (rate(distq_event_loop_lag_seconds_bucket[5m]))) > 0.25",
        "10m",
        "warning",
        "The master's event loop lags by {{ $value | humanizeDuration }}: the master needs more than one CPU core.",
        "the master gets too little CPU time",
    ),
    Alert(
        "DistqInternalErrors",
        "sum by (namespace, place) (increase(distq_internal_errors_total[15m])) > 0",
        "0m",
        "warning",
        "The master failed a request because of its own defect (place: {{ $labels.place }}); it serves all others.",
        "a request runs into a defect of the master",
    ),
    Alert(
        "DistqScheduleFaulty",
        'sum by (namespace) (distq_schedules{state="faulty"}) > 0',
        "5m",
        "warning",
        "{{ $value }} schedules submit nothing, because the master cannot compute their next scheduled run.",
        "a schedule's time zone is missing",
    ),
    Alert(
        "DistqClockStepped",
        "sum by (namespace) (increase(distq_clock_steps_total[15m])) > 0",
        "0m",
        "warning",
        "The clock of the master's machine was changed while the master ran, or the machine was suspended.",
        "the machine's clock is changed",
    ),
    Alert(
        "DistqAuthFailures",
        "sum by (namespace) (increase(distq_auth_failures_total[10m])) > 5",
        "0m",
        "warning",
        "Connections without the right authkey keep arriving.",
        "a peer has a wrong authkey",
    ),
    Alert(
        "DistqQueuePaused",
        f"max {QUEUE} (distq_queue_paused) > 0",
        "1h",
        "info",
        "The queue {{ $labels.queue }} has been paused for an hour.",
        "a queue is paused",
    ),
)


def section(alert: Alert) -> str:
    """Return the anchor of the alert's section in the runbook."""
    return alert.name.lower()


def rule(alert: Alert) -> dict[str, Any]:
    """Return the alert as a rule of Prometheus."""
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook": f"{RUNBOOK}#{section(alert)}"},
    }


def rendered() -> str:
    """Return the text of the rule file."""
    groups = {"groups": [{"name": "distq", "rules": [rule(alert) for alert in ALERTS]}]}
    head = "# Generated by `python -m deploy.prometheus.alerts`: edit that program.\n"
    return head + yaml.safe_dump(groups, sort_keys=False, width=1_000)


def main() -> None:
    """Write the rule file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
