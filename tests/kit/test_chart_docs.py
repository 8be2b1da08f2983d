"""The chart's README and schema: written from the comments of values.yaml, each value with a sentence or more."""

import json
from pathlib import Path

import pytest
from tests.kit.shell import CHART
from tools import chart
from tools.chart_schema import Untyped

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "text"), chart.files().items(), ids=lambda one: getattr(one, "name", ""))
def test_what_is_made_of_the_values_is_what_the_program_writes(path: Path, text: str) -> None:
    """Run `python -m tools.chart` after a change, and commit all of it."""
    assert path.read_text(encoding="utf-8") == text


def test_a_value_whose_type_nobody_has_said_is_an_error() -> None:
    """An empty default tells nothing."""
    with pytest.raises(Untyped, match=r"a\.b is empty: say `@schema` above it"):
        chart.schema("a:\n  # A list of something.\n  b: []\n")
    with pytest.raises(Untyped, match="c is null"):
        chart.schema("# Whatever.\nc: null\n")


def test_the_schema_says_each_value_sentence_too() -> None:
    """An editor shows them."""
    written = json.dumps(chart.schema(TEXT), ensure_ascii=False)
    unsaid = [one.path for one in chart.values(TEXT) if json.dumps(one.sentence, ensure_ascii=False) not in written]
    assert unsaid == ["workerPools.default"]


def test_every_value_has_a_sentence() -> None:
    """Also those that everybody knows from Kubernetes."""
    found = list(chart.values(TEXT))
    assert len(found) > 100
    assert [value.path for value in found if not value.sentence.endswith((".", ")", "`", ":", '"}'))] == []
