"""The committed dashboards are current and complete, and use only metrics that distq exposes."""

import itertools
import json
import re
from typing import Any

import pytest
import yaml
from deploy.grafana import dashboards
from tests.kit.shell import CHART
from tests.tidy.tree import ROOT

from distq.metrics.catalogue import BY_NAME

DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((CHART / "files" / "dashboards").glob("*.json"))
}
PANELS: list[dict[str, Any]] = [
    panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"] if panel["type"] != "row"
]
each_panel = pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
PROCESS_METRICS = ("process_cpu_seconds_total", "process_resident_memory_bytes")
"""Metrics of each process that prometheus-client exposes, by scraped instance."""
UNITS = {"short", "s", "ops", "percentunit", "bytes", "none"}
"""The used ones of Grafana's units: https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts"""
SUFFIXES_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def test_the_files_are_what_the_program_writes() -> None:
    """Run `python -m deploy.grafana.dashboards` after a change, and commit both."""
    written = {path.name: path.read_text(encoding="utf-8") for path in dashboards.FOLDER.glob("*.json")}
    assert written == dashboards.rendered()


@each_panel
def test_a_panel_has_all_descriptive_parts(panel: dict[str, Any]) -> None:
    """A panel has a title, a description, a unit, a source, thresholds, and a name for every series."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    values = [step["value"] for step in steps[1:]]
    assert (steps[0]["value"], steps[0]["color"]) == (None, "green")
    assert values == sorted(values)
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["legendFormat"] for target in panel["targets"])


@each_panel
def test_a_panel_uses_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    """Every name in an expression is in the catalogue, with the labels that it is filtered and summed by."""
    for target in panel["targets"]:
        names = set(re.findall(r"\bdistq_\w+", target["expr"]))
        assert names
        known = {"namespace", "le"}
        if any(name in target["expr"] for name in PROCESS_METRICS):
            known.add("instance")
        for name in names:
            base = name if name in BY_NAME else re.sub(f"({'|'.join(SUFFIXES_OF_HISTOGRAMS)})$", "", name)
            assert base in BY_NAME, name
            known |= set(BY_NAME[base].labels)
        matched = set(re.findall(r"[{,]\s*(\w+)=", target["expr"]))
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
        assert matched | grouped <= known


@each_dashboard
def test_panels_have_different_ids_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """Grafana moves or drops panels that overlap or share an id."""
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    for left, right in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        separate = (
            left["x"] + left["w"] <= right["x"]
            or right["x"] + right["w"] <= left["x"]
            or left["y"] + left["h"] <= right["y"]
            or right["y"] + right["h"] <= left["y"]
        )
        assert separate, (left, right)


def test_each_row_has_one_subject() -> None:
    """The rows lead from the whole service to single tasks, then to workers and master."""
    rows = {
        name: [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
        for name, dashboard in DASHBOARDS.items()
    }
    assert rows == {
        "overview": ["Service level", "Flow", "Reliability", "Limits"],
        "tasks": ["Per task"],
        "workers": ["Workers"],
        "master": ["Master", "Several masters"],
    }


@each_dashboard
def test_a_dashboard_links_to_the_others(dashboard: dict[str, Any]) -> None:
    """The link keeps variables and time range, and each dashboard has a different uid."""
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == ("dashboards", ["distq"], True, True)
    assert "distq" in dashboard["tags"]
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("variable", ["queue", "task", "pool"])
def test_a_variable_narrows_every_panel_whose_metrics_have_its_label(variable: str) -> None:
    """A panel of a metric with the label queue or pool never shows all of them when one is selected."""
    chosen = f'{variable}=~"${variable}"'
    for panel in PANELS:
        for target in panel["targets"]:
            names = set(re.findall(r"\bdistq_\w+?(?=_bucket\b|\b)", target["expr"]))
            labelled = all(variable in BY_NAME[name].labels for name in names)
            if labelled and (variable != "task" or panel in DASHBOARDS["tasks"]["panels"]):
                assert target["expr"].count(chosen) == len(re.findall(r"\bdistq_\w+{", target["expr"])), panel["title"]


NOT_SHOWN = {
    "distq_dead_letters_requeued_total": "operators cause it themselves",
    "distq_dead_letters_max_tasks": "an alert compares with it",
    "distq_dead_letters_dropped_total": "the log reports it, and only a setting of the operator causes it",
    "distq_unknown_settles_total": "it helps only to find a defect",
    "distq_store_ready": "an alert reports it",
    "distq_internal_errors_total": "an alert reports it with its place; the log has the details",
    "distq_clock_steps_total": "an alert reports it",
    "distq_clock_stepped_seconds": "the log reports each step",
    "distq_undelivered_results_bytes": "the master bounds it; it helps only to explain its memory",
    "distq_client_sessions": "it helps only to explain the master's memory; distq_connections counts connected clients",
    "distq_worker_executors": "the master's distq_worker_slots counts all workers' slots",
    "distq_task_total_seconds": "wait and run are its parts",
}
"""Metrics without a panel, and the reason of each."""


def test_every_metric_has_a_panel_or_a_reason_for_none() -> None:
    """A new metric needs a panel or a reason."""
    expressions = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    shown = {name for name in BY_NAME if re.search(rf"\b{name}(_bucket)?{{", expressions)}
    assert shown.isdisjoint(NOT_SHOWN)
    assert shown | NOT_SHOWN.keys() == BY_NAME.keys()


@each_dashboard
def test_every_variable_of_an_expression_is_defined(dashboard: dict[str, Any]) -> None:
    """Grafana would send an undefined variable as plain text."""
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {"__rate_interval"}
    assert used <= defined
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            assert (variable["includeAll"], variable["allValue"]) == (True, ".*")


def test_the_datasource_of_compose_is_the_default() -> None:
    """The dashboard's variable selects it without a choice by the user."""
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    source = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"][0]
    assert (source["type"], source["isDefault"], source["uid"]) == ("prometheus", True, "prometheus")


def test_each_panel_has_a_different_title_and_description() -> None:
    """Two panels that count different things never share a text."""
    for field in ("title", "description"):
        texts = [panel[field] for panel in PANELS]
        assert [text for text in texts if texts.count(text) > 1] == []
