"""Tests of copies between files and a database."""

import asyncio
import itertools

import pytest
from tests.storage.copy_contract import CopyContract, copied, tasks
from tests.storage.moved_rows import fill
from tests.storage.postgresql.opened import opened
from tests.storage.postgresql.server import PostgresServer

from distq.core.ports import StoreError
from distq.storage import copying

pytestmark = pytest.mark.postgresql

_numbers = itertools.count(1)


def new_schema(server: PostgresServer) -> str:
    """Return the URL of a new schema."""
    return f"{server.url}&schema=copy_{next(_numbers)}"


class TestFilesToDatabases(CopyContract):
    """A file is copied to a database."""

    @pytest.fixture(autouse=True)
    def _server(self, shared_server: PostgresServer) -> None:
        self.server = shared_server

    def new_source(self) -> str:
        """Return a new file."""
        return self.new_file()

    def new_destination(self) -> str:
        """Return a new schema."""
        return new_schema(self.server)


class TestDatabasesToFiles(TestFilesToDatabases):
    """A database is copied to a file."""

    def new_source(self) -> str:
        """Return a new schema."""
        return new_schema(self.server)

    def new_destination(self) -> str:
        """Return a new file."""
        return self.new_file()


@pytest.mark.parametrize("led", ["source", "to"])
def test_a_database_that_a_master_leads_is_refused(
    shared_server: PostgresServer, led: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader goes on."""
    monkeypatch.setattr(copying, "WAIT_S", 0.5)
    urls = {"source": new_schema(shared_server), "to": new_schema(shared_server)}
    fill(urls["source"], tasks(3))

    async def attempt() -> None:
        async with opened(urls[led]) as leader:
            with pytest.raises(StoreError, match=r"the master at 127\.0\.0\.1:9000 leads this cluster"):
                await asyncio.to_thread(copied, urls["source"], urls["to"])
            await leader.commit({})

    asyncio.run(attempt())
