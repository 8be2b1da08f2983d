"""Fixtures of the tests of the PostgreSQL store."""

import itertools
from collections.abc import Iterator

import pytest
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[PostgresServer]:
    """Yield one server for all tests that do not stop it."""
    with short_folder() as folder, server_in(folder) as server:
        yield server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Yield a server of this test's own."""
    with short_folder() as folder, server_in(folder) as server:
        yield server


@pytest.fixture
def place(shared_server: PostgresServer) -> str:
    """Return the URL of a new schema on the shared server."""
    return f"{shared_server.url}&schema=place_{next(_numbers)}"
