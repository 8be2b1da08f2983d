"""Fixtures of the tests of commands."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder with no `.env` but the test's own."""
    monkeypatch.chdir(tmp_path)
