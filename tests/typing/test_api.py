"""Tests of the API as a type checker sees it."""

import subprocess
import sys

from tests.tidy.tree import ROOT


def test_wrong_arguments_are_errors_and_results_have_their_types() -> None:
    """`client.submit(add, 1, "x")` is an error, and `future.result()` has the function's type."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typing/api.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
