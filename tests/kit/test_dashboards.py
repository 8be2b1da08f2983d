"""The committed dashboards: fresh, complete, and asking only for what distq exposes."""

import itertools
import json
import re
from typing import Any

import pytest
import yaml
from deploy.grafana import dashboards
from tests.kit.shell import CHART, ROOT

from distq.metrics.catalogue import BY_NAME

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((CHART / "files" / "dashboards").glob("*.json"))
}
PANELS: list[dict[str, Any]] = [
    panel for board in BOARDS.values() for panel in board["panels"] if panel["type"] != "row"
]
each_panel = pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
OF_PROCESSES = ("process_cpu_seconds_total", "process_resident_memory_bytes")
"""What prometheus-client tells of each process, by the instance that was scraped."""
UNITS = {"short", "s", "ops", "percentunit", "bytes", "none"}
"""Those of Grafana's that are used here: https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts"""
SUFFIXES_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def test_the_files_are_what_the_program_writes() -> None:
    """Run `python -m deploy.grafana.dashboards` after a change, and commit both."""
    written = {path.name: path.read_text(encoding="utf-8") for path in dashboards.FOLDER.glob("*.json")}
    assert written == dashboards.rendered()


@each_panel
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a title, a sentence, a unit, a source, thresholds, and a name for every series."""
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
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    """Every name in an expression is in the catalogue, with the labels that it is filtered and summed by."""
    for target in panel["targets"]:
        names = set(re.findall(r"\bdistq_\w+", target["expr"]))
        assert names
        known = {"namespace", "le"}
        if any(name in target["expr"] for name in OF_PROCESSES):
            known.add("instance")
        for name in names:
            base = name if name in BY_NAME else re.sub(f"({'|'.join(SUFFIXES_OF_HISTOGRAMS)})$", "", name)
            assert base in BY_NAME, name
            known |= set(BY_NAME[base].labels)
        matched = set(re.findall(r"[{,]\s*(\w+)=", target["expr"]))
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
        assert matched | grouped <= known


@each_board
def test_panels_have_ids_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    """Grafana would move or drop them otherwise."""
    everything = board["panels"]
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)
    for one, other in itertools.combinations([panel["gridPos"] for panel in everything], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_the_rows_tell_one_story_each() -> None:
    """From the service as a whole to each task, what went wrong, who works, and the master."""
    rows = {
        name: [panel["title"] for panel in board["panels"] if panel["type"] == "row"] for name, board in BOARDS.items()
    }
    assert rows == {
        "overview": ["Service level", "Flow", "Reliability", "Limits"],
        "tasks": ["Per task"],
        "workers": ["Workers"],
        "master": ["Master"],
    }


@each_board
def test_a_board_leads_to_the_others(board: dict[str, Any]) -> None:
    """With the same choices, at the same time; Grafana knows each by an id of its own."""
    (link,) = board["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == ("dashboards", ["distq"], True, True)
    assert "distq" in board["tags"]
    assert len({one["uid"] for one in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("variable", ["queue", "task", "pool"])
def test_a_variable_narrows_every_panel_whose_metrics_have_its_label(variable: str) -> None:
    """The row of tasks heeds all of them; a metric with a queue or a pool is never shown for all when one is chosen."""
    chosen = f'{variable}=~"${variable}"'
    for panel in PANELS:
        for target in panel["targets"]:
            names = set(re.findall(r"\bdistq_\w+?(?=_bucket\b|\b)", target["expr"]))
            labelled = all(variable in BY_NAME[name].labels for name in names)
            if labelled and (variable != "task" or panel in BOARDS["tasks"]["panels"]):
                assert target["expr"].count(chosen) == len(re.findall(r"\bdistq_\w+{", target["expr"])), panel["title"]


NOT_SHOWN = {
    "distq_dead_letters_requeued_total": "an operator's own doing",
    "distq_dead_letters_max_tasks": "an alert compares with it",
    "distq_dead_letters_dropped_total": "the log says it, by a setting of the operator's own",
    "distq_unknown_settles_total": "for whoever looks for a defect",
    "distq_store_ready": "an alert says it",
    "distq_internal_errors_total": "an alert says it, and where; the log has the rest",
    "distq_clock_steps_total": "an alert says it",
    "distq_clock_stepped_seconds": "the log says it of each step",
    "distq_undelivered_results_bytes": "the master bounds it: for a search in its memory",
    "distq_client_sessions": "as above; distq_connections has those that are connected",
    "distq_worker_executors": "the master's distq_worker_slots says the same of all of them",
    "distq_task_total_seconds": "wait and run are its parts",
}
"""Metrics without a panel, and why."""


def test_every_metric_has_a_panel_or_a_reason_to_have_none() -> None:
    """Whatever is counted is on a board."""
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    shown = {name for name in BY_NAME if re.search(rf"\b{name}(_bucket)?{{", asked)}
    assert shown.isdisjoint(NOT_SHOWN)
    assert shown | NOT_SHOWN.keys() == BY_NAME.keys()


@each_board
def test_the_variables_that_expressions_use_are_there(board: dict[str, Any]) -> None:
    """None is left for Grafana to send as it stands."""
    defined = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) - {"__rate_interval"}
    assert used <= defined
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert (variable["includeAll"], variable["allValue"]) == (True, ".*")


def test_the_datasource_that_compose_provisions_is_the_default_one() -> None:
    """The dashboard's variable then chooses it, without anybody's help."""
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    source = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"][0]
    assert (source["type"], source["isDefault"], source["uid"]) == ("prometheus", True, "prometheus")


def test_each_panel_has_a_title_and_a_description_of_its_own() -> None:
    """Two panels that count different things never share their words."""
    for field in ("title", "description"):
        texts = [panel[field] for panel in PANELS]
        assert [text for text in texts if texts.count(text) > 1] == []
