"""The chart's README: written from the comments of values.yaml, each value with a sentence or more."""

from tests.kit.shell import CHART
from tools import chart

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")


def test_the_readme_is_what_the_program_writes() -> None:
    """Run `python -m tools.chart` after a change, and commit both."""
    assert (CHART / "README.md").read_text(encoding="utf-8") == chart.readme(TEXT)


def test_every_value_has_a_sentence() -> None:
    """Also those that everybody knows from Kubernetes."""
    found = list(chart.values(TEXT))
    assert len(found) > 100
    assert [value.path for value in found if not value.sentence.endswith((".", ")", "`", ":", '"}'))] == []
