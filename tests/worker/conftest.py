"""What all tests of the worker need."""

import pytest

from distq.tasks import current


@pytest.fixture(autouse=True)
def _own_find_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that a test has made tells no later test what runs."""
    monkeypatch.setattr(current, "find_current", None)
