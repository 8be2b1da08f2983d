"""The dashboards' expressions, asked of the real Prometheus while things go well and while they go wrong."""

import json
import math
import os

import pytest
from tests.kit.engine.stack import ALL_BUT_GRAFANA, Stack, stack
from tests.kit.shell import CHART, eventually

import distq
from distq.cli.demo_tasks import square

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("images"),
]

FAULTS = {
    "sum(distq_dead_letter_tasks)": 2,  # one that failed for good, one that was lost too often
    "sum(distq_task_retries_total)": 3,
    'sum(distq_task_attempts_total{outcome="failure"})': 4,
    'sum(distq_task_attempts_total{outcome="lost"})': 5,
    'sum(distq_task_redeliveries_total{reason="executor"})': 5,
    'sum(distq_worker_executor_exits_total{cause="crash"})': 5,
    'sum(distq_tasks_completed_total{task="math:sqrt",outcome="dead"})': 1,
}
"""What the two tasks below are counted as, with the shipped defaults: three retries, five deliveries."""


def expressions() -> dict[str, str]:
    """Every expression of every panel, with all variables at `All`."""
    found = {}
    for path in (CHART / "files" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "20s")
                for variable in ("namespace", "queue", "task", "pool"):
                    expr = expr.replace(f"${variable}", ".*")
                found[f"{panel['title']} {target['refId']}"] = expr
    return found


def values(project: Stack, expr: str) -> list[str]:
    """The values that Prometheus has for an expression now."""
    return [series["value"][1] for series in project.prometheus("query", query=expr)["result"]]


def go_wrong(client: distq.Client) -> None:
    """Submits a task that fails, and one that ends its executor: functions that every worker has."""
    client.submit(math.sqrt, -1.0)
    client.submit(os._exit, 3)


def test_every_expression_of_every_panel_returns_data(images: None) -> None:
    """While the demo's job runs and two tasks go wrong, the real Prometheus has a number, not NaN, for each."""
    with stack() as project:
        project.up(*ALL_BUT_GRAFANA)
        with project.client() as client:
            go_wrong(client)
            missing = expressions()
            assert len(missing) > 30

            def silent() -> list[str]:
                project.client_on_the_host(100)
                list(client.map(square, range(20)))
                for name, expr in list(missing.items()):
                    if any(value != "NaN" for value in values(project, expr)):
                        del missing[name]
                return list(missing)

            eventually(silent, lambda names: not names, within_s=90)
            client.abandon()
        wanted = {expr: [str(count)] for expr, count in FAULTS.items()}
        eventually(lambda: {expr: values(project, expr) for expr in FAULTS}, wanted.__eq__, within_s=60)
