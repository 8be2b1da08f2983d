"""Fixtures of the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, cluster
from tests.storage.postgresql.server import server_in, short_folder


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster without any process."""
    with cluster(tmp_path) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Return the folder that `handlers.hold` uses."""
    folder = tmp_path / "held"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server for all tests that do not stop it."""
    with short_folder() as folder, server_in(folder) as server:
        yield server.url
