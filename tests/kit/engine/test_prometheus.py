"""The dashboards' expressions in a real Prometheus, without and with faults."""

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from deploy.prometheus.alerts import ALERTS
from tests.kit.chart import render
from tests.kit.engine.stack import ALL_BUT_GRAFANA, ON_IMAGES, Stack, stack
from tests.kit.grafana import shown
from tests.kit.shell import CHART, run, wait_for_value

import distq
from distq.demo.tasks import square

pytestmark = ON_IMAGES

FAULTS = {
    "sum(distq_dead_letter_tasks)": 2,  # a task that failed finally, and one that was lost `max_deliveries` times
    "sum(distq_task_retries_total)": 3,
    'sum(distq_task_attempts_total{outcome="failure"})': 4,
    'sum(distq_task_attempts_total{outcome="lost"})': 5,
    'sum(distq_task_redeliveries_total{reason="executor"})': 5,
    'sum(distq_worker_executor_exits_total{cause="crash"})': 5,
    'sum(distq_tasks_completed_total{task="math:sqrt",outcome="dead"})': 1,
}
"""The counts of the two tasks of `go_wrong`, with three retries and the default of five deliveries."""

TINY: Final = 5
"""Capacity of the queue that the test fills."""
CAUSED_HERE: Final = (
    "DistqNoWorkersForNonEmptyQueue",
    "DistqQueueNearCapacity",
    "DistqSubmitsRejected",
    "DistqFailureRatioHigh",
    "DistqRedeliveriesHigh",
    "DistqDeadLettersGrowing",
    "DistqWorkerFlapping",
    "DistqAuthFailures",
    "DistqQueuePaused",
    "DistqLeaseExpiriesHigh",
    "DistqWorkersSaturated",
    "DistqMasterDown",
)
"""Alerts whose faults the test can cause; the others need hours, a full disk, or another version."""


NUMBER: Final = r"-?\d+(\.\d+)?"
SHOWN: Final = {
    "percentunit": f"{NUMBER}%",
    "s": f"{NUMBER} (ns|µs|ms|s|mins?|hours?|days?|weeks?|years?)",
    "bytes": f"{NUMBER} ([KMGT]i)?B",
    "ops": f"{NUMBER}[KMB]? ops/s",
    "short": f"{NUMBER}( K| Mil| Bil)?",
    "none": NUMBER,
}
"""Pattern of a shown value, by its panel's unit."""


NOT_IN_THE_DEMO = {
    "Use of old keys A": "no key has a newer one",
    "Rejected connections B": "no limit is met",
    **dict.fromkeys(
        (
            "Leaders A",
            "Changes of the leader A",
            "Hand-overs and take-overs A",
            "Standby masters A",
            "Passed connections A",
            "Standby lag A",
        ),
        "one master has its store for itself",
    ),
}
"""Expressions without a number while the demo runs, with the reason."""


def expressions() -> dict[str, str]:
    """Return every expression of every panel that has data in the demo, with all variables at `All`."""
    found = {}
    for path in (CHART / "files" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "20s")
                for variable in ("namespace", "queue", "task", "pool"):
                    expr = expr.replace(f"${variable}", ".*")
                found[f"{panel['title']} {target['refId']}"] = expr
    assert NOT_IN_THE_DEMO.keys() <= found.keys()
    return {name: expr for name, expr in found.items() if name not in NOT_IN_THE_DEMO}


def units() -> dict[str, dict[str, str]]:
    """Return the field configuration of the panel of each expression."""
    return {
        f"{panel['title']} {target['refId']}": panel["fieldConfig"]["defaults"]
        for path in (CHART / "files" / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    }


def values(project: Stack, expr: str) -> list[str]:
    """Return the present values of an expression in Prometheus."""
    return [series["value"][1] for series in project.prometheus("query", query=expr)["result"]]


def go_wrong(client: distq.Client) -> None:
    """Submit a task that fails, and one that ends its executor; every worker can run both functions."""
    client.options(retries=3).submit(math.sqrt, -1.0)
    client.submit(os._exit, 3)


def without_data(project: Stack, missing: dict[str, str]) -> list[str]:
    """Return the names of these expressions that have no number yet, and remove the others from the mapping."""
    for name, expr in list(missing.items()):
        if any(value != "NaN" for value in values(project, expr)):
            del missing[name]
    return list(missing)


def test_failed_and_lost_tasks_are_counted_by_their_outcome(images: None) -> None:
    """The default settings apply, and the counts are exact."""
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        with project.client() as client:
            go_wrong(client)
            assert client.flush(30)
            client.abandon()
        wanted = {expr: [str(count)] for expr, count in FAULTS.items()}
        wait_for_value(lambda: {expr: values(project, expr) for expr in FAULTS}, wanted.__eq__, within_s=90)


@pytest.fixture(name="demo", scope="module")
def run_demo(images: None) -> Iterator[Stack]:
    """Yield a project under the demo's load when Prometheus has a number for every expression."""
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        project.compose("up", "--detach", "demo")
        project.exec("master", "distq", "queue", "set", "default", "--running", "1000", "--create")
        missing = expressions()
        assert len(missing) > 50
        wait_for_value(lambda: without_data(project, missing), lambda names: not names, within_s=120)
        yield project


def test_every_expression_of_every_panel_returns_data(demo: Stack) -> None:
    """Under the demo's load the real Prometheus has a number, not NaN, for each."""
    for name, expr in expressions().items():
        assert values(demo, expr), name


@pytest.mark.grafana
def test_grafana_shows_what_prometheus_has_in_the_units_of_the_panels(demo: Stack) -> None:
    """Every version of Grafana shows the same number in the panel's unit."""
    configs, exprs = units(), expressions()
    samples = [
        (configs[name], float(value)) for name, expr in exprs.items() for value in values(demo, expr) if value != "NaN"
    ]
    assert len(samples) >= len(exprs)
    texts = shown(samples)
    assert texts["11"] == texts["12"] == texts["13"]
    for (config, value), text in zip(samples, texts["13"], strict=True):
        assert re.fullmatch(SHOWN[config["unit"]], text), (config["unit"], value, text)


def test_keda_gets_the_needed_slots_from_a_prometheus(images: None) -> None:
    """The chart's query, in a project without namespaces, counts running tasks and no task of a paused queue."""
    keda = {"enabled": True, "trigger": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    rendered = render({"workerPools": {"default": {"queues": ["mail", "letters"], "keda": keda}}})
    (trigger,) = rendered["ScaledObject", "distq-worker-default"]["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    assert 'namespace="default", ' in query
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        project.exec("master", "distq", "pause", "--queue", "mail", "--create")
        with project.client() as client:
            for _ in range(7):
                client.options(queue="mail").submit(square, 2)
            client.options(queue="letters").submit(time.sleep, 60)
            assert client.flush(30)
            client.abandon()
        without_namespace = query.replace('namespace="default", ', "")
        wait_for_value(lambda: values(project, without_namespace), ["1"].__eq__, within_s=60)


def overfill(client: distq.Client) -> None:
    """Fill a small queue whose tasks no worker can run, and submit one task too many."""
    tiny = client.options(queue="tiny", requires="absent", full="raise")
    with suppress(distq.QueueFull):
        for _ in range(TINY + 1):
            tiny.submit(square, 1)


def connect_with_wrong_key(project: Stack) -> None:
    """Connect with a wrong key."""
    with suppress(distq.DistqError):
        distq.Client(project.address("master", 9000), "another key than the one that is right").submit(square, 1)


def cause_faults(project: Stack, client: distq.Client) -> None:
    """Cause once more the faults that must happen several times before their alerts have data."""
    overfill(client)
    connect_with_wrong_key(project)
    client.options(retries=3).submit(math.sqrt, -1.0)
    for _ in range(4):
        client.options(max_deliveries=1).submit(os._exit, 3)
    client.options(retries=0).submit(math.sqrt, -1.0)


def test_the_faults_behind_alerts_make_their_expressions_return_data(images: None, tmp_path: Path) -> None:
    """Prometheus loads every rule; after each fault that the test causes, the alert's expression returns series."""
    short = {"DISTQ_LEASE_S": "3s", "DISTQ_HEARTBEAT_S": "1s"}
    path = tmp_path / "short.yaml"
    slots = {"DISTQ_CONCURRENCY": "4"}
    services = {"master": {"environment": short}, "worker": {"environment": slots}}
    path.write_text(json.dumps({"services": services}))
    with stack(["compose.yaml", path]) as project:
        project.up(*ALL_BUT_GRAFANA)
        groups = project.prometheus("rules")["groups"]
        rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
        assert rules.keys() == {alert.name for alert in ALERTS}
        wait_for_value(
            lambda: {rule["health"] for group in project.prometheus("rules")["groups"] for rule in group["rules"]},
            {"ok"}.__eq__,
            within_s=60,
        )
        project.exec("master", "distq", "queue", "set", "tiny", "--capacity", str(TINY), "--create")
        project.exec("master", "distq", "pause", "--queue", "paused", "--create")
        missing = {name: rules[name]["query"] for name in CAUSED_HERE}

        def all_but(names: Sequence[str], repeat: Callable[[], None] = lambda: None) -> None:
            """Cause the faults again until at most these expressions have no data."""

            def count_again() -> list[str]:
                repeat()
                return without_data(project, missing)

            wait_for_value(count_again, lambda found: set(found) <= set(names), within_s=120, every_s=2)

        client = project.client()
        try:
            all_but(CAUSED_HERE[-3:], lambda: cause_faults(project, client))
            for _ in range(40):
                client.submit(time.sleep, 300)
            wait_for_value(lambda: values(project, 'sum(distq_worker_slots{state="free"})'), ["0"].__eq__, within_s=60)
            (frozen, *_) = project.containers("worker")
            run("docker", "pause", frozen)
            try:
                all_but(CAUSED_HERE[-1:])
            finally:
                run("docker", "unpause", frozen)
        finally:
            client.abandon()  # the tasks that no worker can run never end
        project.compose("stop", "--timeout", "1", "master")
        all_but(())
