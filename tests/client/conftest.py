"""What several tests of the client need."""

import pytest

from distq.demo.cluster import free_port


@pytest.fixture
def unused() -> int:
    """A port on which nobody listens."""
    return free_port()
