"""The outbox in PostgreSQL: relays leave out rows that another relay is claiming, instead of waiting for it."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, MetaData, create_engine, func, select
from tests.e2e.cluster import Cluster, Process, cluster
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder

import distq
from distq import testing
from distq.contrib.outbox.relay import Relay
from distq.contrib.sqlalchemy import OutboxTable
from distq.contrib.sqlalchemy.store import SqlOutboxStore

pytestmark = pytest.mark.postgresql


@pytest.fixture(name="server")
def server_of_the_test() -> Iterator[PostgresServer]:
    """Yield a server of this test's own."""
    with short_folder() as folder, server_in(folder) as server:
        yield server


@pytest.fixture(name="engine")
def engine_of_the_test(server: PostgresServer) -> Iterator[Engine]:
    """Yield an engine, and close its connections."""
    engine = create_engine(server.url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


def filled(engine: Engine, count: int) -> OutboxTable:
    """Return an outbox with `count` rows."""
    metadata = MetaData()
    outbox = OutboxTable(metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(count):
            outbox.add(connection, abs, number)
    return outbox


def test_a_relay_takes_the_rows_that_another_relay_has_not_locked(engine: Engine) -> None:
    """It does not wait for the other one, which may be frozen."""
    outbox = filled(engine, 5)
    store = SqlOutboxStore(engine, outbox.table)
    with engine.begin() as connection:
        columns = outbox.table.c
        locked = connection.scalars(select(columns.id).order_by(columns.id).limit(3).with_for_update()).all()
        claimed = store.claim("a", 5, 1e11, 2e11)
    assert [row.id for row in claimed] == [max(locked) + 1, max(locked) + 2]
    assert len(store.claim("b", 5, 1e11, 2e11)) == 3


def test_relays_of_both_libraries_submit_each_row_once(
    engine: Engine, server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLAlchemy's in four threads, and Django's in a process, on one table."""
    outbox = filled(engine, 2000)
    with testing.cluster(abs) as running, cluster(tmp_path_factory.mktemp("logs")) as processes:
        relay_of_django = start_relay_of_django(processes, running, server)
        relays = [
            Relay(
                SqlOutboxStore(engine, outbox.table),
                lambda: distq.Client(running.address, running.authkey, wait_at_exit=False),
            )
            for _ in range(4)
        ]
        threads = [threading.Thread(target=relay.run, kwargs={"once": True}) for relay in relays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert relay_of_django.popen.wait(60) == 0, relay_of_django.text
        assert sorted(task.args[0] for task in running.submitted(abs)) == list(range(2000))
    with engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(outbox.table)) == 0


def start_relay_of_django(processes: Cluster, running: testing.Cluster, server: PostgresServer) -> Process:
    """Start the relay of Django on the table."""
    return processes.run(
        "distq_outbox",
        "--once",
        launcher=("-m", "django"),
        DJANGO_SETTINGS_MODULE="tests.contrib.django.settings",
        SHOP_POSTGRESQL=f"{server.folder} {server.port}",
        DISTQ_ADDRESS=running.address,
        DISTQ_AUTHKEY=running.authkey,
    )
