"""The relay: each committed row is submitted once, whatever fails between its steps."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, select
from tests.waiting import eventually

import distq
from distq import testing
from distq.contrib.outbox import relay as relay_module
from distq.contrib.outbox.command import settle_doubtful
from distq.contrib.outbox.relay import Postponed, Relay
from distq.contrib.outbox.rows import ONCE_S, OutboxRow
from distq.contrib.sqlalchemy import OutboxTable
from distq.contrib.sqlalchemy.store import SqlOutboxStore


class Table:
    """An outbox in a file, and its store."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = create_engine(f"sqlite:///{folder / 'data.db'}", connect_args={"timeout": 60})
        metadata = MetaData()
        self.outbox = OutboxTable(metadata)
        metadata.create_all(self.engine)
        self.store = SqlOutboxStore(self.engine, self.outbox.table)

    def add(self, *numbers: int, **options: Any) -> None:
        """Commit rows, each with a task that returns its number."""
        with self.engine.begin() as connection:
            for number in numbers:
                self.outbox.options(**options).add(connection, abs, number)

    def rows(self) -> list[Any]:
        """Return the rows of the table."""
        with self.engine.begin() as connection:
            return list(connection.execute(select(self.outbox.table).order_by(self.outbox.table.c.id)))

    def set(self, **values: Any) -> None:
        """Change all rows."""
        with self.engine.begin() as connection:
            connection.execute(self.outbox.table.update().values(**values))


@pytest.fixture(name="table")
def table_in_a_file(tmp_path: Path) -> Iterator[Table]:
    """Yield an outbox, and close its connections."""
    table = Table(tmp_path)
    yield table
    table.engine.dispose()


@pytest.fixture(name="running")
def running_cluster() -> Iterator[testing.Cluster]:
    """Yield a master with an executor."""
    with testing.cluster(abs) as running:
        yield running


def client_of(running: testing.Cluster) -> Callable[[], distq.Client]:
    """Return how a relay makes its clients."""
    return lambda: relay_module.relay_client(running.address, running.authkey)


def submitted(running: testing.Cluster) -> list[int]:
    """Return the arguments of all tasks that the master has accepted."""
    return sorted(task.args[0] for task in running.submitted(abs))


def test_committed_rows_are_submitted_and_deleted(table: Table, running: testing.Cluster) -> None:
    """A rolled-back row does not exist."""
    table.add(*range(1200))
    with table.engine.begin() as connection:
        table.outbox.add(connection, abs, 5000)
        connection.rollback()
    Relay(table.store, client_of(running)).run(once=True)
    assert submitted(running) == list(range(1200))
    assert table.rows() == []


def test_a_row_whose_relay_died_after_the_submit_is_not_submitted_twice(table: Table, running: testing.Cluster) -> None:
    """Its task may have ended meanwhile: the master keeps the key for a day."""
    table.add(1, 2)

    class Dies(SqlOutboxStore):
        def delete(self, ids: Sequence[int]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Relay(Dies(table.engine, table.outbox.table), client_of(running)).run()
    running.drain()
    assert [row.attempts for row in table.rows()] == [1, 1]
    Relay(table.store, client_of(running)).run(once=True)
    assert len(table.rows()) == 2  # the claim of the dead relay is not over
    table.set(due_at=0.0)
    running.advance(hours=23)
    Relay(table.store, client_of(running)).run(once=True)
    assert table.rows() == []
    assert submitted(running) == [1, 2]


def test_a_row_in_doubt_waits_for_an_operator(
    table: Table, running: testing.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A relay submitted it more than a day ago, and the master does not know its key: it may have run."""
    table.add(1, 2)
    table.set(attempted_at=relay_module._now() - ONCE_S - 60, attempts=1)
    said: list[str] = []
    Relay(table.store, client_of(running)).run(once=True)
    assert submitted(running) == []
    assert "in doubt. A relay submitted it 24 hours ago and did not delete it." in caplog.text
    settle_doubtful(table.store, "status", said.append)
    settle_doubtful(table.store, "submit", said.append)
    Relay(table.store, client_of(running)).run(once=True)
    assert submitted(running) == [1, 2]
    table.add(3)
    table.set(due_at=None)
    settle_doubtful(table.store, "delete", said.append)
    assert table.rows() == []
    assert said == [
        "0 rows waiting, 2 rows in doubt",
        "2 rows in doubt will be submitted",
        "1 row in doubt deleted",
    ]


def test_a_row_in_doubt_that_the_master_knows_is_deleted(table: Table, running: testing.Cluster) -> None:
    """Its task has a longer result TTL, or has not run yet."""
    table.add(1, result_ttl="3d")
    kept = table.rows()[0]._asdict()
    Relay(table.store, client_of(running)).run(once=True)
    with table.engine.begin() as connection:
        connection.execute(
            table.outbox.table.insert().values({**kept, "attempted_at": relay_module._now() - ONCE_S - 60})
        )
    Relay(table.store, client_of(running)).run(once=True)
    assert table.rows() == []
    assert submitted(running) == [1]


def test_a_refused_row_stays_and_delays_no_other(
    table: Table, running: testing.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the row; a later submit counts as the first."""
    table.add(1)
    table.set(options='[["q"], null, null]')
    table.add(2)
    table.add(3, requires="gpu")
    with table.engine.begin() as connection:
        broken = table.outbox.table.c.options.contains("gpu")
        connection.execute(table.outbox.table.update().where(broken).values(options='[["", "f"], null, null]'))
    Relay(table.store, client_of(running)).run(once=True)
    first, second = table.rows()
    assert submitted(running) == [2]
    assert "missing 1 required positional argument" in first.error
    assert "the name of a queue and the name of a task are texts" in second.error
    assert [(row.attempted_at, row.claim, row.attempts) for row in (first, second)] == [(None, "", 1)] * 2
    assert first.due_at > relay_module._now()
    assert "is submitted again in 2 s. TypeError" in caplog.text


def test_a_full_queue_delays_only_its_own_rows(table: Table, running: testing.Cluster) -> None:
    """They are submitted again when there may be room."""
    with running.hold():
        running.client._administer("queue_set", {"queue": "narrow", "capacity": 1})
        table.add(1, 2, queue="narrow")
        table.add(3)
        Relay(table.store, client_of(running)).run(once=True)
        assert submitted(running) == [1, 3]
        (row,) = table.rows()
        assert "the queue 'narrow' is full" in row.error or "the queue was full" in row.error
        assert row.attempted_at is None
    running.drain()
    table.set(due_at=0.0)
    Relay(table.store, client_of(running)).run(once=True)
    assert submitted(running) == [1, 2, 3]
    assert table.rows() == []


def test_rows_wait_for_a_master_that_is_away(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were not submitted, so no time makes them doubtful."""
    table.add(1)
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "0.01")
    waits = threading.Event()

    class Waits(SqlOutboxStore):
        def close(self) -> None:
            waits.set()
            super().close()

    relay = Relay(
        Waits(table.engine, table.outbox.table), lambda: distq.Client("127.0.0.1:1", "k" * 32, wait_at_exit=False)
    )
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        assert waits.wait(20)
    finally:
        relay.stop.set()
        thread.join(20)
    assert not thread.is_alive()
    (row,) = table.rows()
    assert (row.attempted_at, row.claim) == (None, "")


def test_a_wrong_key_ends_the_relay(table: Table, running: testing.Cluster) -> None:
    """Waiting would not help; the row is not in doubt."""
    table.add(1)
    relay = Relay(table.store, lambda: distq.Client(running.address, "w" * 40, wait_at_exit=False))
    with pytest.raises(distq.AuthenticationFailed):
        relay.run()
    assert [row.attempted_at for row in table.rows()] == [None]


def test_two_relays_do_not_claim_the_same_row(table: Table) -> None:
    """The second one gets what the first one has left, and neither changes rows of the other."""
    table.add(*range(5))
    first = table.store.claim("a", 3, (now := relay_module._now()), now + 60)
    second = table.store.claim("b", 3, now, now + 60)
    assert [len(first), len(second)] == [3, 2]
    assert not {row.id for row in first} & {row.id for row in second}
    assert all(row.attempted_at == now and row.attempts == 1 for row in first + second)
    table.store.postpone("a", [Postponed(row.id, 5.0, None, "no") for row in first + second])
    assert sorted((row.id, row.error) for row in table.rows() if row.error) == [(row.id, "no") for row in first]
    again = table.store.claim("c", 9, now + 61, now + 99)
    assert len(again) == 5
    assert {row.attempted_at for row in again} == {now, now + 61}


def test_several_relays_at_once_submit_each_row_once(table: Table, running: testing.Cluster) -> None:
    """On SQLite, whose UPDATE gives each row to one of them."""
    table.add(*range(300))
    relays = [Relay(table.store, client_of(running)) for _ in range(4)]
    threads = [threading.Thread(target=relay.run, kwargs={"once": True}) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submitted(running) == list(range(300))
    assert table.rows() == []


def test_a_relay_begins_a_new_session_after_many_rows(
    table: Table, running: testing.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The master would send it every result, and it would keep a future of each task."""
    monkeypatch.setattr(relay_module, "CLIENT_ROWS", 3)
    monkeypatch.setattr(relay_module, "BATCH_ROWS", 2)
    table.add(*range(9))
    clients: list[distq.Client] = []

    def make() -> distq.Client:
        clients.append(client_of(running)())
        return clients[-1]

    Relay(table.store, make).run(once=True)
    assert submitted(running) == list(range(9))
    assert len(clients) == 3


def test_a_database_that_is_away_is_waited_for(table: Table, running: testing.Cluster) -> None:
    """The relay goes on when it is there again."""
    table.add(1)

    class Away(SqlOutboxStore):
        claims = 0

        def claim(self, token: str, limit: int, now: float, until_at: float) -> list[OutboxRow]:
            self.claims += 1
            if self.claims == 1:
                raise self.errors[0]("SELECT", {}, Exception("gone"))
            return super().claim(token, limit, now, until_at)

    relay = Relay(Away(table.engine, table.outbox.table), client_of(running), interval_s=0.01)
    relay.run(once=True)
    eventually(lambda: submitted(running) == [1])
