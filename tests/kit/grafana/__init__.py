"""Helpers that check the dashboards with Grafana's own libraries, which `make grafana` installs."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.kit.shell import run

LIBRARIES: Final = Path(sys.executable).parents[1] / "grafana"
"""The folder in which `make grafana` installs them, outside of the tree."""
MAJORS: Final = ("11", "12", "13")


def program(name: str, *arguments: Path, given: str | None = None) -> Any:
    """Return the JSON in the last line of a program of this folder."""
    output = run("node", Path(__file__).with_name(name), *arguments, given=given)
    return json.loads(output.splitlines()[-1])


def shown(values: Sequence[tuple[Mapping[str, Any], float]]) -> dict[str, list[str]]:
    """Return the texts that each Grafana shows for values with the field configuration of their panels."""
    samples = [{"config": config, "value": value} for config, value in values]
    found: dict[str, list[str]] = program("display.mjs", LIBRARIES, given=json.dumps(samples))
    return found
