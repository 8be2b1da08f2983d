"""The comparison of counted instructions with their budget; `make budget` counts them."""

import json

import pytest
from benchmarks.budget import __main__ as budget
from benchmarks.budget.scenarios import REFERENCE, SCENARIOS

OWN = "cpython-3.11.7-x86_64-glibc-2.36-0a"
OTHER = "cpython-3.13.0-x86_64-glibc-2.41-0b"
LIMITS = budget.Limits(OWN, {"ledger": 0.5, "wire": 0.25}, 0.03)


def test_budget_file_has_every_scenario() -> None:
    """Each build in the file has a positive figure for each scenario, and for nothing else."""
    builds = json.loads(budget.BUDGET.read_text())
    assert builds
    for ratios in builds.values():
        assert set(ratios) == set(SCENARIOS) - {REFERENCE}
        assert min(ratios.values()) > 0


def test_ratios_are_multiples_of_the_reference() -> None:
    """A machine or a build that needs twice the instructions for everything has the same ratios."""
    counts = {REFERENCE: 1_000, "ledger": 500, "wire": 250}
    doubled = {name: 2 * count for name, count in counts.items()}
    assert budget.ratios_of(counts) == budget.ratios_of(doubled) == LIMITS.ratios


def test_faults_name_the_scenario_that_exceeds_its_budget() -> None:
    """Within the tolerance a scenario is right; beyond it a sentence names it and both figures."""
    assert budget.faults({"ledger": 0.514, "wire": 0.1}, LIMITS) == []
    (sentence,) = budget.faults({"ledger": 0.52, "wire": 0.25}, LIMITS)
    assert sentence == (
        "'ledger' costs 0.5200 of the reference, 4.0% more than its budget of 0.5000; the tolerance is 3%. "
        "Make it cheaper, or accept the cost with `make budget UPDATE=1`."
    )


def test_faults_name_scenarios_that_only_one_side_has() -> None:
    """A scenario without a budget is a fault, and so is a budget without a scenario."""
    assert budget.faults({"ledger": 0.5, "new": 0.1}, LIMITS) == [
        "'new' has no budget: `make budget UPDATE=1` gives it one.",
        "'wire' has a budget and is no scenario: `make budget UPDATE=1` removes it.",
    ]


def test_limits_of_a_known_build_are_its_own() -> None:
    """A build in the file has the small tolerance, another one the large tolerance of the nearest version."""
    ratios = {OWN: {"ledger": 0.5}, OTHER: {"ledger": 0.45}}
    assert budget.limits(ratios, OWN) == (OWN, {"ledger": 0.5}, budget.TOLERANCE)
    nearest = budget.limits(ratios, "cpython-3.12.9-aarch64-glibc-2.41-0c")
    assert nearest == (OTHER, {"ledger": 0.45}, budget.TOLERANCE_OF_OTHERS)


def test_scenarios_run_twice_with_one_preparation() -> None:
    """Each scenario can run again, as the counted run is the second; none fails its own checks."""
    for prepare in SCENARIOS.values():
        scenario = prepare()
        scenario()
        scenario()


def test_valgrind_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valgrind the program ends with a sentence that says how to install it, and not with success."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="apt-get install valgrind"):
        budget.instructions()
