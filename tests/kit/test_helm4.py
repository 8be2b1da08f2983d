"""The chart with Helm 4: what holds with Helm 3 holds with it."""

from pathlib import Path

import pytest
from tests.kit.chart import CI, GOLDEN, golden
from tests.kit.shell import CHART, fails, run

HELM = "helm4"
SCENARIOS = sorted(CI.glob("*-values.yaml"))
pytestmark = pytest.mark.helm4


def test_it_is_another_helm() -> None:
    """Of the next major version."""
    assert run(HELM, "version", "--short").startswith("v4.")
    assert run("helm", "version", "--short").startswith("v3.")


@pytest.mark.parametrize("values", SCENARIOS, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_it_makes_the_same_objects(values: Path) -> None:
    """To the letter, in every scenario; and its linter is content."""
    assert (GOLDEN / values.name.replace("-values", "")).read_text(encoding="utf-8") == golden(values, HELM)
    run(HELM, "lint", "--strict", "--quiet", CHART, "--values", values)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("master.storage.size=lots", "does not match pattern"),
        ("nobody=knows", "additional properties 'nobody' not allowed"),
        ("master.replicas=2", "two masters on one volume"),
    ],
)
def test_it_refuses_the_same_mistakes(mistake: str, sentence: str) -> None:
    """By the schema, and by the chart's own words."""
    assert sentence.lower() in fails(HELM, "template", "distq", CHART, "--set", mistake).lower()
