"""The PostgreSQL store passes the contract of every store."""

import pytest
from tests.storage.contract import StoreContract
from tests.storage.postgresql.opened import stop_renewing
from tests.storage.postgresql.server import PostgresServer

from distq.core.ports import Store
from distq.storage import open_store
from distq.storage.postgresql.store import PostgresStore
from distq.storage.postgresql.target import parse_target

pytestmark = pytest.mark.postgresql


class TestPostgresStore(StoreContract):
    """Every test has a schema of its own. A second store finds the lock free, as after a fail-over."""

    @pytest.fixture(autouse=True)
    def _server(self, shared_server: PostgresServer, place: str) -> None:
        self.server = shared_server
        self.made: list[PostgresStore] = []
        self.url = place

    async def make(self, place: str) -> Store:
        """Return a store, after ending all leases and locks: only the epoch protects the rows then."""
        for earlier in self.made:
            stop_renewing(earlier)
        if self.server.sql("SELECT to_regclass(%s)", f"{parse_target(self.url).schema}.distq_leases") != [(None,)]:
            self.server.sql(f"UPDATE {parse_target(self.url).schema}.distq_leases SET released = true")
        self.server.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'distq lock%'"
        )
        store = open_store(f"{self.url}&cluster={place}", 0.0)
        assert isinstance(store, PostgresStore)
        self.made.append(store)
        return store
