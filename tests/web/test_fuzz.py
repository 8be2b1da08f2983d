"""The HTTP API answers as its OpenAPI document says, to requests that the document allows and to others."""

from pathlib import Path

import pytest
from tests.web.fuzz import fuzzed

EXAMPLES = 10
"""Examples an operation; `make fuzz-http` runs more of them, with another seed."""


@pytest.mark.timeout(600)
def test_schemathesis_finds_no_difference(tmp_path: Path) -> None:
    """Every check of schemathesis runs, on valid and invalid requests, one by one and in chains."""
    code, output = fuzzed(tmp_path, EXAMPLES, seed=None)
    assert code == 0, output
    assert "Tested: 8" in output
