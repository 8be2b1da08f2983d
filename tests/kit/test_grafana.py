"""The dashboards, read by Grafana's own libraries of the three major versions that they are for."""

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
"""Values in the units of panels, and what people see of them."""
BOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


def complaints(name: str, *boards: Path) -> list[str]:
    """What a program finds wrong with boards; it must have looked at something."""
    found = program(name, LIBRARIES, *boards)
    assert found["looked"] >= len(boards)
    return list(found["complaints"])


WORDS = {
    "fieldConfig.defaults.unit": ("parsecs", "unit parsecs"),
    "fieldConfig.defaults.color": ({"mode": "rainbow"}, "colour mode rainbow"),
    "fieldConfig.defaults.thresholds": ({"mode": "absolute", "steps": [{"color": "gren"}]}, "colour gren"),
    "fieldConfig.overrides": ([{"matcher": {"id": "byShape"}, "properties": []}], "matcher byShape"),
    "options.legend.calcs": (["penultimate"], "reducer penultimate"),
    "transformations": ([{"id": "shake", "options": {}}], "transformation shake"),
}
"""Words that no Grafana knows, by where they stand in a panel, and how they are named."""
FIELDS = {
    "fieldConfig.defaults.decimal": 1,
    "options.legend.placement": "left",
    "fieldConfig.defaults.custom": {"fillOpacity": "10"},
    "title": 5,
}
"""Fields and values that no schema has."""


def spoilt(folder: Path, number: int, path: str, value: object) -> Path:
    """A board with one panel, of which something is changed."""
    board = json.loads(BOARDS[0].read_text(encoding="utf-8"))
    panel = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    place, (*where, last) = panel, path.split(".")
    for name in where:
        place = place[name]
    place[last] = value
    board["panels"] = [panel]
    target = folder / f"board{number}.json"
    target.write_text(json.dumps(board), encoding="utf-8")
    return target


def test_grafana_knows_every_word_of_the_boards() -> None:
    """Units, reducers, colours, matchers and transformations."""
    assert complaints("words.mjs", *BOARDS) == []


def test_the_boards_are_what_grafanas_schema_says() -> None:
    """Each field has the type of `@grafana/schema`, and there is none that it does not have."""
    assert complaints("types.mjs", *BOARDS) == []


def test_a_word_that_grafana_does_not_know_is_found(tmp_path: Path) -> None:
    """By each of the three: the check above can fail."""
    boards = [spoilt(tmp_path, number, path, value) for number, (path, (value, _)) in enumerate(WORDS.items())]
    said = complaints("words.mjs", *boards)
    assert sorted(line.rpartition(": ")[2] for line in said) == sorted(
        f"Grafana {major} knows no {kind}" for major in MAJORS for _, kind in WORDS.values()
    )


def test_a_field_that_the_schema_does_not_have_is_found(tmp_path: Path) -> None:
    """By each of the three."""
    boards = [spoilt(tmp_path, number, path, value) for number, (path, value) in enumerate(FIELDS.items())]
    found = {line.partition(".ts")[0] for line in complaints("types.mjs", *boards)}
    assert found == {f"{major}-{board.stem}" for major in MAJORS for board in boards}


def test_values_are_shown_in_their_units() -> None:
    """As people read them, and alike in all three."""
    found = shown([({"unit": unit}, value) for unit, value, _ in SHOWN])
    assert found == {major: [text for _, _, text in SHOWN] for major in MAJORS}
