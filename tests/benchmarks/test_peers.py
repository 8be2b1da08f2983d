"""The benchmark beside other systems: what it measures, how it shows it, and its environment."""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from benchmarks.peers import __main__ as peers
from benchmarks.peers import page, system
from benchmarks.peers.plot import drawn

FOLDER = Path(peers.__file__).parent
FIGURES = {"tasks_per_s": 900.0, "p50_ms": 0.5, "p99_ms": 2.0, "mb_per_s": 100.0, "start_s": 0.5, "held_bytes": 450.0}
SLOWER = {name: 2 * value for name, value in FIGURES.items() if name != "held_bytes"}


def result() -> dict[str, Any]:
    """A run of two systems that ended, and one that did not."""
    return {
        "units": peers.UNITS,
        "systems": {
            "distq_memory": {"title": "distq, in memory", "medians": FIGURES},
            "huey_redis": {"title": "Huey & Redis", "medians": SLOWER},
            "ray_core": {"title": "Ray", "medians": {}, "failed": "It had not ended."},
        },
    }


def test_systems_are_the_modules_of_their_folder() -> None:
    """No module is left out of a run, and each says its title, its settings and how it runs."""
    modules = {path.stem: path for path in (FOLDER / "systems").glob("*.py") if path.stem != "__init__"}
    assert set(modules) == set(peers.SYSTEMS)
    assert set(peers.STANDARD) | peers.CLIENT_HOLDS | set(peers.LAUNCHERS) <= set(modules)
    for path in modules.values():
        body = ast.parse(path.read_text()).body
        names = {
            target.id
            for one in body
            if isinstance(one, ast.Assign)
            for target in one.targets
            if isinstance(target, ast.Name)
        }
        names |= {one.name for one in body if isinstance(one, ast.FunctionDef)}
        assert {"TITLE", "SETTINGS", "running"} <= names, path


def test_lock_pins_every_package_of_the_peers_with_hashes() -> None:
    """The lock has what `requirements.in` asks for, and no other file of the project asks for it."""
    wanted = {
        line.partition("[")[0] for line in (FOLDER / "requirements.in").read_text().splitlines() if line[0] != "#"
    }
    lock = (FOLDER / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", lock, re.MULTILINE))
    assert wanted <= set(pinned)
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert peers.versions().keys() >= wanted | {"distq", "python"}


def test_table_has_figures_with_their_ratios_and_the_reason_of_a_failure() -> None:
    """A ratio is of distq's figure; a figure without a meaning is a dash; a system that cannot run has its reason."""
    rows = page.table(result()).splitlines()
    assert rows[2] == "| distq, in memory | 900 | 0.50 | 2.00 | 100 | 0.50 | 450 |"
    assert rows[3] == (
        "| Huey & Redis | 1,800 (2.00 x) | 1.00 (2.00 x) | 4.00 (2.00 x) | 200 (2.00 x) | 1.00 (2.00 x) | - |"
    )
    assert rows[4].startswith("| Ray | did not run to the end: It had not ended. |")
    assert {row.count("|") for row in rows} == {len(peers.UNITS) + 2}


def test_page_without_a_place_for_the_table_is_refused() -> None:
    """The table goes between two comments, and nothing else of the page changes."""
    written = page.with_table(f"Before\n{page.BEGIN}old{page.END}\nAfter", result())
    assert written.startswith(f"Before\n{page.BEGIN}\n| |")
    assert written.endswith(f"{page.END}\nAfter")
    assert "old" not in written
    with pytest.raises(SystemExit, match="no place for the table"):
        page.with_table("Before", result())


def test_plot_is_a_picture_of_every_system_that_ran() -> None:
    """Its names are escaped, and the best system of a panel comes first."""
    texts = [text.text or "" for text in ET.fromstring(drawn(result())).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("Huey & Redis") == texts.count("distq, in memory") == 3
    assert "Ray" not in texts
    assert texts.index("Huey & Redis") < texts.index("distq, in memory")


def test_measurement_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the last line of its errors; a system is never left out without one."""
    monkeypatch.setattr(peers, "PEERS_PYTHON", Path(sys.executable))
    failed = peers.measured("no_such_system")["failed"]
    assert failed == "ModuleNotFoundError: No module named 'benchmarks.peers.systems.no_such_system'"


def test_medians_are_of_the_rounds_that_have_a_figure() -> None:
    """The memory of queued tasks is measured once, everything else in each round."""
    assert peers.medians([{"a": 1.0}, {"a": 3.0}, {"a": 2.0}, {"held": 5.0}]) == {"a": 2.0, "held": 5.0}
    assert [system.number_text(value) for value in (None, 0.126, 12.34, 4_321.0)] == ["-", "0.13", "12.3", "4,321"]


def test_page_and_plot_are_those_of_the_committed_run() -> None:
    """docs/explanation/speed.md shows the run in the repository: `python -m benchmarks.peers.page` changes nothing."""
    committed = json.loads(page.RESULT.read_text(encoding="utf-8"))
    written = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(written, committed) == written
    assert page.PLOT.read_text(encoding="utf-8") == drawn(committed)
    assert set(committed["systems"]) == set(peers.SYSTEMS)
