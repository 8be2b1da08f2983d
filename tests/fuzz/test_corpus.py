"""Every input from which the fuzzer starts is read or refused, on every Python: also where there is no fuzzer."""

import pytest
from tests.fuzz.seeds import CORPUS, seeds_of
from tests.fuzz.targets import PICKLES, TARGETS
from tests.tidy.tree import ROOT

CORPUS_BYTES_MAX = 300_000


@pytest.mark.parametrize("target", TARGETS)
def test_every_known_input_is_read_or_refused(target: str) -> None:
    """The inputs that distq writes itself, and those that the fuzzer has found to reach other lines."""
    inputs = seeds_of(target)
    assert len(inputs) > 2
    for data in inputs:
        TARGETS[target](data)


def test_the_stored_inputs_are_few_and_no_pickles() -> None:
    """The folder stays small, and nothing in it harms another program."""
    folders = {path.name for path in CORPUS.iterdir()}
    assert folders <= TARGETS.keys() - set(PICKLES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPUS_BYTES_MAX


def test_ci_runs_the_fuzzer() -> None:
    """A change to a reader meets new inputs before it is merged."""
    assert "step fuzz make fuzz" in (ROOT / ".ci" / "run").read_text()
