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

OVERVIEW = json.loads((CHART / "files" / "dashboards" / "overview.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in OVERVIEW["panels"] if panel["type"] != "row"]
each_panel = pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
SUFFIXES_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def test_the_files_are_what_the_program_writes() -> None:
    """Run `python -m deploy.grafana.dashboards` after a change, and commit both."""
    written = {path.name: path.read_text(encoding="utf-8") for path in dashboards.FOLDER.glob("*.json")}
    assert written == dashboards.rendered()


@each_panel
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a title, a sentence, a unit, a source, and a name for every series."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["legendFormat"] for target in panel["targets"])


@each_panel
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    """Every name in an expression is in the catalogue, with the labels that it is filtered and summed by."""
    for target in panel["targets"]:
        names = set(re.findall(r"\bdistq_\w+", target["expr"]))
        assert names
        known = {"namespace", "le"}
        for name in names:
            base = name if name in BY_NAME else re.sub(f"({'|'.join(SUFFIXES_OF_HISTOGRAMS)})$", "", name)
            assert base in BY_NAME, name
            known |= set(BY_NAME[base].labels)
        matched = set(re.findall(r"[{,]\s*(\w+)=", target["expr"]))
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
        assert matched | grouped <= known


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    """Grafana would move or drop them otherwise."""
    everything = OVERVIEW["panels"]
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
    rows = [panel["title"] for panel in OVERVIEW["panels"] if panel["type"] == "row"]
    assert rows == ["Service level", "Flow", "Per task", "Reliability", "Workers", "Master"]


@pytest.mark.parametrize("variable", ["queue", "task", "pool"])
def test_a_variable_narrows_every_panel_whose_metrics_have_its_label(variable: str) -> None:
    """The row of tasks heeds all of them; a metric with a queue or a pool is never shown for all when one is chosen."""
    chosen = f'{variable}=~"${variable}"'
    for panel in PANELS:
        for target in panel["targets"]:
            names = set(re.findall(r"\bdistq_\w+?(?=_bucket\b|\b)", target["expr"]))
            labelled = all(variable in BY_NAME[name].labels for name in names)
            if labelled and (variable != "task" or "task" in panel["title"].split()):
                assert target["expr"].count(chosen) == len(re.findall(r"\bdistq_\w+{", target["expr"])), panel["title"]


def test_every_counter_of_trouble_has_a_panel() -> None:
    """Whatever the ledger or a worker counts of attempts, losses and ends is on the board."""
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for name in (
        "distq_task_attempts_total",
        "distq_task_retries_total",
        "distq_task_redeliveries_total",
        "distq_task_late_settles_total",
        "distq_leases_expired_total",
        "distq_dead_letter_tasks",
        "distq_worker_executor_exits_total",
    ):
        assert f"{name}{{" in asked


def test_the_variables_that_expressions_use_are_there() -> None:
    """None is left for Grafana to send as it stands."""
    defined = {variable["name"] for variable in OVERVIEW["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(OVERVIEW["panels"]))) - {"__rate_interval"}
    assert used <= defined
    for variable in OVERVIEW["templating"]["list"]:
        if variable["type"] == "query":
            assert (variable["includeAll"], variable["allValue"]) == (True, ".*")


def test_the_datasource_that_compose_provisions_is_the_default_one() -> None:
    """The dashboard's variable then chooses it, without anybody's help."""
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    source = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"][0]
    assert (source["type"], source["isDefault"], source["uid"]) == ("prometheus", True, "prometheus")
