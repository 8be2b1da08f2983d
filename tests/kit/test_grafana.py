"""Grafana's own libraries of three major versions read the dashboards."""

import json
from pathlib import Path

import pytest
from tests.kit.grafana import LIBRARIES, MAJORS, program, shown
from tests.kit.shell import CHART

pytestmark = pytest.mark.grafana

SHOWN = [
    ("percentunit", 0.5, "50%"),
    ("s", 0.0021, "2.10 ms"),
    ("s", 90, "1.50 mins"),
    ("bytes", 3 * 1024**2, "3 MiB"),
    ("ops", 12_000, "12K ops/s"),
    ("short", 1_500_000, "1.50 Mil"),
]
"""Values in the units of panels, and the texts that Grafana shows."""
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


def faults_of(name: str, *dashboards: Path) -> list[str]:
    """Return the faults that a program finds in dashboards; fail if it has checked fewer dashboards than given."""
    found = program(name, LIBRARIES, *dashboards)
    assert found["checked"] >= len(dashboards)
    return list(found["faults"])


UNKNOWN_TERMS = {
    "fieldConfig.defaults.unit": ("parsecs", "unit parsecs"),
    "fieldConfig.defaults.color": ({"mode": "rainbow"}, "colour mode rainbow"),
    "fieldConfig.defaults.thresholds": ({"mode": "absolute", "steps": [{"color": "gren"}]}, "colour gren"),
    "fieldConfig.overrides": ([{"matcher": {"id": "byShape"}, "properties": []}], "matcher byShape"),
    "options.legend.calcs": (["penultimate"], "reducer penultimate"),
    "transformations": ([{"id": "shake", "options": {}}], "transformation shake"),
}
"""Terms that no Grafana knows, by their path in a panel, and how the fault names them."""
UNKNOWN_FIELDS = {
    "fieldConfig.defaults.decimal": 1,
    "options.legend.placement": "left",
    "fieldConfig.defaults.custom": {"fillOpacity": "10"},
    "title": 5,
}
"""Fields and values that no schema has."""


def altered(folder: Path, number: int, path: str, value: object) -> Path:
    """Write a dashboard with one panel in which one value is changed; return its path."""
    dashboard = json.loads(DASHBOARDS[0].read_text(encoding="utf-8"))
    panel = next(panel for panel in dashboard["panels"] if panel["type"] == "timeseries")
    node, (*parents, last) = panel, path.split(".")
    for name in parents:
        node = node[name]
    node[last] = value
    dashboard["panels"] = [panel]
    target = folder / f"board{number}.json"
    target.write_text(json.dumps(dashboard), encoding="utf-8")
    return target


def test_grafana_knows_every_term_of_the_dashboards() -> None:
    """The terms are units, reducers, colours, matchers and transformations."""
    assert faults_of("terms.mjs", *DASHBOARDS) == []


def test_the_dashboards_fit_grafanas_schema() -> None:
    """Each field exists in `@grafana/schema` and has its type."""
    assert faults_of("types.mjs", *DASHBOARDS) == []


def test_an_unknown_term_is_found(tmp_path: Path) -> None:
    """All three versions find it, so the test of the real dashboards can fail."""
    dashboards = [
        altered(tmp_path, number, path, value) for number, (path, (value, _)) in enumerate(UNKNOWN_TERMS.items())
    ]
    faults = faults_of("terms.mjs", *dashboards)
    assert sorted(line.rpartition(": ")[2] for line in faults) == sorted(
        f"Grafana {major} knows no {kind}" for major in MAJORS for _, kind in UNKNOWN_TERMS.values()
    )


def test_an_unknown_field_or_a_wrong_type_is_found(tmp_path: Path) -> None:
    """All three versions find it."""
    dashboards = [altered(tmp_path, number, path, value) for number, (path, value) in enumerate(UNKNOWN_FIELDS.items())]
    found = {line.partition(".ts")[0] for line in faults_of("types.mjs", *dashboards)}
    assert found == {f"{major}-{dashboard.stem}" for major in MAJORS for dashboard in dashboards}


def test_values_are_shown_in_their_units() -> None:
    """All three versions show the same readable text."""
    found = shown([({"unit": unit}, value) for unit, value, _ in SHOWN])
    assert found == {major: [text for _, _, text in SHOWN] for major in MAJORS}
