"""Fixtures of the client's tests."""

import pytest
from tests.ports import free_port


@pytest.fixture
def unused() -> int:
    """Return a port on which no process listens."""
    return free_port()
