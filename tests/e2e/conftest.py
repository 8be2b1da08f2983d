"""Fixtures of the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, cluster


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without any process yet."""
    with cluster(tmp_path) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """The folder that `handlers.hold` is given."""
    folder = tmp_path / "held"
    folder.mkdir()
    return folder
