"""Tests of `tests/conftest.py`: skips with reasons, no settings from outside, interpreters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tidy.tree import ROOT

SUITE = """
import os
import pytest

@pytest.mark.engine
def test_container(): ...

@pytest.mark.promtool
def test_rules(): ...

def test_settings():
    assert not [name for name in os.environ if name.startswith("DISTQ_")]

def test_plain(interpreter):
    assert interpreter
"""


@pytest.fixture(name="folder")
def make_suite(tmp_path: Path) -> Path:
    """Return a folder with a small suite under this project's conftest."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    engine\n    promtool\n")
    return tmp_path


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """Return pytest's output about the suite on a machine whose PATH is empty."""
    command = [sys.executable, "-m", "pytest", "-rA", "--tb=short", *arguments, str(folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=folder, env={**clean, "PATH": "", **environment}, check=False, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize("parallel", [[], ["-n2"]])
def test_a_missing_engine_skips_with_a_reason_or_fails_in_ci(folder: Path, parallel: list[str]) -> None:
    """Without DISTQ_CI a missing engine skips the test with a reason; with it, the test fails, in parallel runs too."""
    lenient = run(folder, *parallel, DISTQ_ADDRESS="elsewhere:1")
    assert "2 passed, 2 skipped" in lenient
    assert "no Docker engine answers `docker info`" in lenient
    assert "promtool is not on the PATH" in lenient
    strict = run(folder, *parallel, DISTQ_ADDRESS="elsewhere:1", DISTQ_CI="1")
    assert "2 passed, 2 errors" in strict
    assert "DISTQ_CI=1 says that it must be there" in strict


def test_an_interpreter_run_leaves_only_tests_that_take_an_interpreter(folder: Path) -> None:
    """Under --interpreters a test runs once for each Python found, and no other test runs."""
    output = run(folder, "--interpreters", PYENV_ROOT=str(folder))
    assert "test_plain[{}.{}]".format(*sys.version_info[:2]) in output
    assert "1 passed, 3 deselected" in output
