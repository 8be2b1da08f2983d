"""Fixtures of all tests of the worker."""

import pytest

from distq.tasks import current


@pytest.fixture(autouse=True)
def _reset_find_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset `find_current`, so that no later test uses the one of an earlier executor."""
    monkeypatch.setattr(current, "find_current", None)
