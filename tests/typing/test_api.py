"""Tests of the API as type checkers see it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tidy.tree import ROOT

PYRIGHT = str(Path(sys.executable).with_name("pyright"))


@pytest.mark.parametrize(
    "checker",
    [
        [sys.executable, "-m", "mypy", "tests/typing/api.py"],
        [PYRIGHT, "--pythonpath", sys.executable, "tests/typing/api.py"],
    ],
    ids=["mypy", "pyright"],
)
def test_wrong_arguments_are_errors_and_results_have_their_types(checker: list[str]) -> None:
    """`client.submit(add, 1, "x")` is an error, and `future.result()` has the function's type."""
    quiet = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # pyright would ask npm for a newer version
    done = subprocess.run(checker, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
