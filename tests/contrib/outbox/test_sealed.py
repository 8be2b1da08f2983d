"""P8: the relays of an outbox sign and encrypt what they submit, in real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, func, select
from tests.contrib.outbox.work import ran, trace
from tests.e2e.cluster import Cluster, cluster
from tests.waiting import eventually

from distq.contrib.sqlalchemy import OutboxTable

KEYS = {
    "DISTQ_SIGNING_KEY": "a signing key of the tests",
    "DISTQ_ENCRYPTION_KEY": "an encryption key of the tests",
}


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster whose processes the test starts."""
    with cluster(tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", ["sqlalchemy", "django"])
def test_rows_of_a_relay_with_keys_run_on_a_worker_that_demands_signatures(
    running: Cluster, tmp_path: Path, kind: str
) -> None:
    """The rows are not sealed: the relay has the keys. A task of a relay without keys is a dead letter."""
    file, trace_file = tmp_path / "data.db", tmp_path / "trace"
    url = f"sqlite:///{file}"
    engine = create_engine(url)
    metadata = MetaData()
    outbox = OutboxTable(metadata)
    metadata.create_all(engine)

    def relay(**keys: str) -> None:
        """Commit a row, and run a relay until the table is empty."""
        with engine.begin() as connection:
            outbox.add(connection, trace, 1 if keys else 2)
        if kind == "sqlalchemy":
            running_relay = running.run("--interval", "0.05", url, launcher=("-m", "distq.contrib.sqlalchemy"), **keys)
        else:
            settings = {"DJANGO_SETTINGS_MODULE": "tests.contrib.django.settings", "SHOP_DATABASE": str(file), **keys}
            running_relay = running.run("distq_outbox", "--interval", "0.05", launcher=("-m", "django"), **settings)

        def is_empty() -> bool:
            with engine.begin() as connection:
                return not connection.scalar(select(func.count()).select_from(outbox.table))

        eventually(is_empty, "the relay has submitted the row", lambda: running_relay.text)
        running_relay.signal(signal.SIGTERM)
        assert running_relay.ends() == 0, running_relay.text

    running.master()
    running.run("worker", "tests.contrib.outbox.work", OUTBOX_TRACE=str(trace_file), **KEYS)
    relay(**KEYS)
    eventually(lambda: set(ran(trace_file)) == {1}, "the task has run")
    relay()
    eventually(lambda: running.json_of("dead", "list", "--json")["tasks"], "the unsigned task is a dead letter")
    (row,) = running.json_of("dead", "list", "--json")["tasks"]
    assert "is not signed" in str(row)
    assert set(ran(trace_file)) == {1}
    engine.dispose()
