"""The chart with Helm 4 gives the same results as with Helm 3."""

from pathlib import Path

import pytest
from tests.kit.chart import CI, GOLDEN, golden
from tests.kit.shell import CHART, fails, run

HELM = "helm4"
SCENARIOS = sorted(CI.glob("*-values.yaml"))
pytestmark = pytest.mark.helm4


def test_helm4_is_another_major_version() -> None:
    """The two programs are Helm 4 and Helm 3."""
    assert run(HELM, "version", "--short").startswith("v4.")
    assert run("helm", "version", "--short").startswith("v3.")


@pytest.mark.parametrize("values", SCENARIOS, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_helm4_renders_the_same_objects(values: Path) -> None:
    """The manifests of every scenario are identical, and `helm lint` finds no fault."""
    assert (GOLDEN / values.name.replace("-values", "")).read_text(encoding="utf-8") == golden(values, HELM)
    run(HELM, "lint", "--strict", "--quiet", CHART, "--values", values)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("master.storage.size=lots", "does not match pattern"),
        ("unknown=1", "additional properties 'unknown' not allowed"),
        ("master.replicas=2", "two masters on one volume"),
    ],
)
def test_helm4_refuses_the_same_mistakes(mistake: str, sentence: str) -> None:
    """The schema refuses them, or the chart's own check."""
    assert sentence.lower() in fails(HELM, "template", "distq", CHART, "--set", mistake).lower()
