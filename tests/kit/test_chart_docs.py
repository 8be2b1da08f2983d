"""The chart's README and schema: generated from the comments of values.yaml, each value with a description."""

import json
import re
from pathlib import Path

import pytest
from tests.kit.shell import CHART
from tests.tidy.tree import ROOT
from tools import chart
from tools.chart_schema import Untyped

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "text"), chart.files().items(), ids=lambda one: getattr(one, "name", ""))
def test_the_files_generated_from_the_values_are_up_to_date(path: Path, text: str) -> None:
    """Run `python -m tools.chart` after a change, and commit all of it."""
    assert path.read_text(encoding="utf-8") == text


def test_a_value_without_a_type_is_an_error() -> None:
    """The type of an empty default cannot be inferred."""
    with pytest.raises(Untyped, match=r"a\.b is empty: state its type by `@schema` above it"):
        chart.schema("a:\n  # A list of something.\n  b: []\n")
    with pytest.raises(Untyped, match="c is null"):
        chart.schema("# Whatever.\nc: null\n")


def test_the_schema_contains_the_description_of_each_value() -> None:
    """Editors show these descriptions."""
    written = json.dumps(chart.schema(TEXT), ensure_ascii=False)
    undescribed = [
        one.path for one in chart.values(TEXT) if json.dumps(one.sentence, ensure_ascii=False) not in written
    ]
    assert undescribed == ["workerPools.default"]


def test_every_value_has_a_description() -> None:
    """That includes values with the names of Kubernetes' own fields."""
    found = list(chart.values(TEXT))
    assert len(found) > 100
    assert [value.path for value in found if not value.sentence.endswith((".", ")", "`", ":", '"}'))] == []


def commands_of_docs(beginning: str) -> dict[str, list[str]]:
    """Return the commands of all documents that begin with this text, by document; continued lines count as one."""
    found = {}
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]:
        lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        commands = [line.strip(" $`") for line in lines]
        found[path.name] = [line for line in commands if line.startswith(beginning)]
    return found


def test_no_helm_upgrade_in_the_docs_resets_values_to_their_defaults() -> None:
    """`helm upgrade` resets the values of the release unless it is given --reuse-values or the file again."""
    upgrades = [line for lines in commands_of_docs("helm upgrade").values() for line in lines]
    assert len(upgrades) >= 4
    assert [line for line in upgrades if "reuse-values" not in line and "--values" not in line] == []


def test_a_command_that_asks_has_a_terminal_or_an_answer() -> None:
    """`kubectl exec` provides a terminal only with -it."""
    runs = [line for lines in commands_of_docs("kubectl exec").values() for line in lines]
    confirmed = [line for line in runs if re.search(r"distq (dead )?purge|distq cancel|-- before", line)]
    assert [line for line in confirmed if "-it" not in line and "--yes" not in line] == []
    assert "`kubectl exec -it deploy/" in (ROOT / "docs/how-to/runbook.md").read_text(encoding="utf-8")
