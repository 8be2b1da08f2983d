"""Tests of the alerting rules: current, explained, only with existing metrics; each fires only in its case."""

import re
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import yaml
from deploy.prometheus import alerts
from deploy.prometheus.alerts import ALERTS, Alert
from tests.kit.shell import run
from tests.tidy.tree import ROOT

from distq.metrics.catalogue import BY_NAME

MIB: Final = 1024 * 1024
Series = dict[str, str]
"""Values of each minute, in promtool's notation, by series."""


class Case(NamedTuple):
    """The series that make an alert fire, the first minute in which it fires, and series that do not make it fire."""

    fires: Series
    after_m: int
    quiet: Series


def gauge(name: str, value: float, **labels: str) -> Series:
    """Return a series that stays constant for two hours."""
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return {f"{name}{{{inside}}}": f"{value}x120"}


def rising(name: str, step: float, **labels: str) -> Series:
    """Return a counter that grows by the given amount a minute."""
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return {f"{name}{{{inside}}}": f"0+{step}x120"}


def ready(count: float) -> Series:
    """Return the series of a number of ready tasks."""
    return gauge("distq_queue_tasks", count, queue="q", state="ready")


def attempts(step: float, outcome: str = "success") -> Series:
    """Return a number of attempts a minute with this outcome."""
    return rising("distq_task_attempts_total", step, queue="q", task="f", outcome=outcome)


def completed(step: float, outcome: str = "success") -> Series:
    """Return a number of tasks a minute with this outcome."""
    return rising("distq_tasks_completed_total", step, queue="q", task="f", outcome=outcome)


def submitted(step: float) -> Series:
    """Return a number of submits a minute."""
    return rising("distq_tasks_submitted_total", step, queue="q", task="f")


def slots(busy: int, free: int) -> Series:
    """Return the series of a pool's slots."""
    return {
        **gauge("distq_worker_slots", busy, pool="p", state="busy"),
        **gauge("distq_worker_slots", free, pool="p", state="free"),
    }


def late(metric: str, slow: float, fast: float, le: str) -> Series:
    """Return a histogram with a number of observations a minute above `le`, and a number below."""
    return {
        **rising(f"{metric}_bucket", fast, le=le),
        **rising(f"{metric}_bucket", slow + fast, le="4"),
        **rising(f"{metric}_bucket", slow + fast, le="+Inf"),
    }


def exits(step: float, cause: str) -> Series:
    """Return a number of executors a minute with this exit reason."""
    return rising("distq_worker_executor_exits_total", step, pool="p", cause=cause)


MASTER: Final = gauge("distq_build_info", 1, component="master", version="1")
CASES: Final[dict[str, Case]] = {
    "DistqMasterDown": Case(gauge("distq_build_info", 1, component="worker", version="1"), 3, MASTER),
    "DistqNoWorkersForNonEmptyQueue": Case(
        {**ready(3), **gauge("distq_queue_tasks", 0, queue="q", state="leased")}, 6, {**ready(3), **attempts(1)}
    ),
    "DistqOldestTaskTooOld": Case(
        gauge("distq_queue_oldest_task_enqueued_timestamp_seconds", 0, queue="q"),
        16,
        rising("distq_queue_oldest_task_enqueued_timestamp_seconds", 60, queue="q"),
    ),
    "DistqQueueGrowing": Case(
        {**ready(500), **submitted(120), **completed(60)}, 17, {**ready(500), **submitted(60), **completed(60)}
    ),
    "DistqTimeToDrainTooLong": Case({**ready(1000), **completed(10)}, 17, {**ready(1000), **completed(60)}),
    "DistqQueueNearCapacity": Case(
        {
            **ready(91),
            **gauge("distq_dead_letter_tasks", 4, queue="q"),
            **gauge("distq_queue_capacity_tasks", 100, queue="q"),
        },
        6,
        {
            **ready(80),
            **gauge("distq_dead_letter_tasks", 4, queue="q"),
            **gauge("distq_queue_capacity_tasks", 100, queue="q"),
        },
    ),
    "DistqSubmitsRejected": Case(
        rising("distq_tasks_rejected_total", 1, queue="q", reason="full"),
        2,
        rising("distq_tasks_rejected_total", 1, queue="q", reason="unique"),
    ),
    "DistqFailureRatioHigh": Case(
        {**attempts(8), **attempts(2, "failure")}, 7, {**attempts(98), **attempts(2, "failure")}
    ),
    "DistqRedeliveriesHigh": Case(
        {**attempts(10), **rising("distq_task_redeliveries_total", 1, queue="q", reason="executor")},
        17,
        {**attempts(100), **rising("distq_task_redeliveries_total", 1, queue="q", reason="executor")},
    ),
    "DistqDeadLettersGrowing": Case(completed(1, "dead"), 2, completed(1, "cancelled")),
    "DistqDeadLettersNearTheirLimit": Case(
        {**gauge("distq_dead_letter_tasks", 91, queue="q"), **gauge("distq_dead_letters_max_tasks", 100)},
        7,
        {**gauge("distq_dead_letter_tasks", 89, queue="q"), **gauge("distq_dead_letters_max_tasks", 100)},
    ),
    "DistqLeaseExpiriesHigh": Case(
        rising("distq_leases_expired_total", 1, pool="p"), 15, rising("distq_leases_expired_total", 0.1, pool="p")
    ),
    "DistqWorkersSaturated": Case({**ready(3), **slots(10, 0)}, 16, {**ready(3), **slots(9, 1)}),
    "DistqExecutorOutOfMemory": Case(exits(1, "oom"), 2, exits(1, "recycle")),
    "DistqWorkerFlapping": Case(exits(1, "crash"), 15, exits(0.5, "crash")),
    "DistqVersionSkew": Case(
        {**MASTER, **gauge("distq_build_info", 1, component="worker", version="2")},
        61,
        {**MASTER, **gauge("distq_build_info", 1, component="worker", version="1")},
    ),
    "DistqStoreDiskWillFill": Case(
        {"distq_store_volume_free_bytes{}": f"{20_000 * MIB}-{100 * MIB}x120"},
        17,
        {"distq_store_volume_free_bytes{}": f"{20_000 * MIB}-{1 * MIB}x120"},
    ),
    "DistqCommitSlow": Case(
        late("distq_store_commit_seconds", 10, 90, "0.25"), 7, late("distq_store_commit_seconds", 0, 100, "0.25")
    ),
    "DistqStoreNotReady": Case(gauge("distq_store_ready", 0), 2, gauge("distq_store_ready", 1)),
    "DistqMasterOverloaded": Case(
        late("distq_event_loop_lag_seconds", 10, 90, "0.1"), 12, late("distq_event_loop_lag_seconds", 0, 100, "0.1")
    ),
    "DistqStoreRefusesCommits": Case(
        rising("distq_store_refusals_total", 1), 5, rising("distq_store_refusals_total", 0)
    ),
    "DistqInternalErrors": Case(
        rising("distq_internal_errors_total", 1, place="decide"),
        5,
        rising("distq_internal_errors_total", 0, place="decide"),
    ),
    "DistqScheduleFaulty": Case(
        gauge("distq_schedules", 1, state="faulty"), 7, gauge("distq_schedules", 1, state="paused")
    ),
    "DistqNoLeader": Case(
        {**gauge("distq_leader", 0, job="m", instance="a"), **gauge("distq_leader", 0, job="m", instance="b")},
        2,
        {**gauge("distq_leader", 1, job="m", instance="a"), **gauge("distq_leader", 0, job="m", instance="b")},
    ),
    "DistqTwoLeaders": Case(
        {**gauge("distq_leader", 1, job="m", instance="a"), **gauge("distq_leader", 1, job="m", instance="b")},
        3,
        {**gauge("distq_leader", 1, job="m", instance="a"), **gauge("distq_leader", 1, job="other", instance="b")},
    ),
    "DistqNoStandby": Case(
        {'distq_standby_masters{job="m"}': "1x5 0x120"}, 20, gauge("distq_standby_masters", 0, job="m")
    ),
    "DistqStandbyTooFarBehind": Case(
        gauge("distq_standby_lag_seconds", 90, job="m"), 7, gauge("distq_standby_lag_seconds", 5, job="m")
    ),
    "DistqClockStepped": Case(rising("distq_clock_steps_total", 1), 5, rising("distq_clock_steps_total", 0)),
    "DistqAuthFailures": Case(rising("distq_auth_failures_total", 1), 10, rising("distq_auth_failures_total", 0.2)),
    "DistqQueuePaused": Case(gauge("distq_queue_paused", 1, queue="q"), 61, gauge("distq_queue_paused", 0, queue="q")),
}
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])


def judged(alert: Alert, series: Series, minute: int, count: int) -> dict[str, object]:
    """Return a promtool test of how many of these alerts fire at that minute."""
    expected = [{"labels": "{}", "value": count}] if count else []
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert.name}", alertstate="firing"}})',
                "eval_time": f"{minute}m",
                "exp_samples": expected,
            }
        ],
    }


def test_the_file_is_what_the_program_writes() -> None:
    """Run `python -m deploy.prometheus.alerts` after a change, and commit both."""
    assert alerts.FILE.read_text(encoding="utf-8") == alerts.rendered()


RANGES: Final = {"closed": "1m", "open": "61s"}
"""Interval of the rules' evaluation in each case, which decides the number of samples in a range.

Samples come every minute. At the same instants a range of Prometheus 2 includes both ends: 16 samples in 15 minutes.
One second later it has one sample less, as every range of Prometheus 3, which is open to the left:
https://prometheus.io/docs/prometheus/latest/migration/
"""


@pytest.mark.promtool
@each_alert
@pytest.mark.parametrize("ranges", RANGES)
def test_an_alert_fires_only_in_its_case(alert: Alert, ranges: str, tmp_path: Path) -> None:
    """The alert fires neither too early nor for other causes, also with ranges that are open to the left."""
    case, later = CASES[alert.name], 2 * (ranges == "open")
    tests = [judged(alert, case.fires, case.after_m + later, 1), judged(alert, case.quiet, 110, 0)]
    if not alert.lasts.startswith("0"):
        tests.append(judged(alert, case.fires, 0, 0))
    file = tmp_path / "test.yaml"
    rules = {"rule_files": [str(alerts.FILE)], "evaluation_interval": RANGES[ranges], "tests": tests}
    file.write_text(yaml.safe_dump(rules), encoding="utf-8")
    assert "SUCCESS" in run("promtool", "test", "rules", file)


@pytest.mark.promtool
def test_promtool_finds_no_fault_in_the_alerts() -> None:
    """Prometheus can read every rule."""
    assert "SUCCESS" in run("promtool", "check", "rules", alerts.FILE)


@each_alert
def test_an_alert_uses_metrics_and_labels_that_exist(alert: Alert) -> None:
    """Every name in an expression is in the catalogue, with the labels that it is filtered and summed by."""
    names = {re.sub("_bucket$", "", name) for name in re.findall(r"\bdistq_\w+", alert.expr)}
    known = {"namespace", "job", "le"}.union(*(BY_NAME[name].labels for name in names))
    grouped = {label for by in re.findall(r"(?:by|on) \(([^)]*)\)", alert.expr) for label in by.split(", ")}
    assert set(re.findall(r"[{,]\s*(\w+)=", alert.expr)) | grouped <= known
    assert set(re.findall(r"\$labels\.(\w+)", alert.summary)) <= grouped


@each_alert
def test_an_alert_states_its_subject_and_what_to_do(alert: Alert) -> None:
    """An alert has a one-sentence summary, and the runbook has a section with checks and actions."""
    assert alert.summary.endswith(".")
    runbook = (ROOT / alerts.RUNBOOK).read_text(encoding="utf-8")
    _, _, text = runbook.partition(f"## {alert.name}\n")
    section = text.partition("\n## ")[0]
    assert "**Look at**" in section
    assert "**Do**" in section


def test_every_alert_has_a_case_and_every_section_an_alert() -> None:
    """No case or section is left of a removed alert."""
    names = {alert.name for alert in ALERTS}
    assert CASES.keys() == names
    runbook = (ROOT / alerts.RUNBOOK).read_text(encoding="utf-8")
    assert set(re.findall(r"^## (Distq\w+)$", runbook, re.MULTILINE)) == names
