"""Programs that ask Grafana's own libraries (`make grafana` brings them) about the dashboards."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.kit.shell import run

LIBRARIES: Final = Path(sys.executable).parents[1] / "grafana"
"""Where `make grafana` puts them, outside of the tree."""
MAJORS: Final = ("11", "12", "13")


def program(name: str, *arguments: Path, given: str | None = None) -> Any:
    """What a program of this folder says, as JSON in its last line."""
    said = run("node", Path(__file__).with_name(name), *arguments, given=given)
    return json.loads(said.splitlines()[-1])


def shown(values: Sequence[tuple[Mapping[str, Any], float]]) -> dict[str, list[str]]:
    """What each Grafana shows for values, by the field configuration of their panels."""
    asked = [{"config": config, "value": value} for config, value in values]
    found: dict[str, list[str]] = program("display.mjs", LIBRARIES, given=json.dumps(asked))
    return found
