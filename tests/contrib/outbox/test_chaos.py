"""Relays and a master that are killed at random instants: each committed row runs as one task, no other row runs."""

import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, func, select
from tests.contrib.outbox.work import ran, trace
from tests.e2e.cluster import Cluster, Process, cluster
from tests.waiting import eventually

from distq.contrib.sqlalchemy import OutboxTable

FAULTS = 12
ROWS_PER_FAULT = 25


class Shop:
    """A program whose transactions write an order and a row of the outbox."""

    def __init__(self, folder: Path) -> None:
        self.file = str(folder / "data.db")
        self.url = f"sqlite:///{self.file}"
        self.engine = create_engine(self.url, connect_args={"timeout": 60})
        metadata = MetaData()
        self.outbox = OutboxTable(metadata)
        self.orders = Table("orders", metadata, Column("number", Integer, primary_key=True))
        event.listen(self.engine, "connect", writes_ahead)
        metadata.create_all(self.engine)
        self.number = 0

    def order(self, *, is_committed: bool) -> None:
        """Write an order and its row, and commit or roll back both."""
        self.number += 1
        with self.engine.begin() as connection:
            connection.execute(self.orders.insert().values(number=self.number))
            self.outbox.add(connection, trace, self.number)
            if not is_committed:
                connection.rollback()

    def committed(self) -> set[int]:
        """Return the numbers of the committed orders."""
        with self.engine.begin() as connection:
            return set(connection.scalars(select(self.orders.c.number)))

    def waiting(self) -> int:
        """Return the number of rows in the outbox."""
        with self.engine.begin() as connection:
            return connection.scalar(select(func.count()).select_from(self.outbox.table)) or 0

    def end_claims(self) -> None:
        """End the claims of killed relays, which last a minute."""
        with self.engine.begin() as connection:
            connection.execute(self.outbox.table.update().values(due_at=0.0))


def writes_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Let the program write while relays read."""
    connection.execute("PRAGMA journal_mode=WAL")


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster whose processes the test starts."""
    with cluster(tmp_path) as running:
        yield running


@pytest.mark.timeout(300)
def test_each_committed_row_runs_as_one_task_whatever_is_killed(running: Cluster, tmp_path: Path) -> None:
    """One relay is SQLAlchemy's, the other one Django's, on the same table; the table is empty at the end."""
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    shop, trace_file = Shop(tmp_path), tmp_path / "trace"

    def master() -> Process:
        return running.run("master", DISTQ_STORE=f"sqlite:///{tmp_path / 'queue.db'}", DISTQ_LOG_LEVEL="warning")

    def relay() -> Process:
        return running.run("--interval", "0.02", shop.url, launcher=("-m", "distq.contrib.sqlalchemy"))

    def relay_of_django() -> Process:
        settings = {"DJANGO_SETTINGS_MODULE": "tests.contrib.django.settings", "SHOP_DATABASE": shop.file}
        return running.run("distq_outbox", "--interval", "0.02", launcher=("-m", "django"), **settings)

    starts = {"master": master, "relay": relay, "relay of Django": relay_of_django}
    processes = {name: start() for name, start in starts.items()}
    running.run("worker", "tests.contrib.outbox.work", OUTBOX_TRACE=str(trace_file), DISTQ_LOG_LEVEL="warning")
    for _ in range(FAULTS):
        for _ in range(ROWS_PER_FAULT):
            shop.order(is_committed=dice.random() < 0.7)
        time.sleep(dice.random() * 0.5)  # chooses the instant of a fault; waits for no fact
        victim = dice.choice(sorted(starts))
        processes[victim].signal(signal.SIGKILL)
        processes[victim].ends()
        processes[victim] = starts[victim]()
    shop.end_claims()
    committed, until = shop.committed(), time.perf_counter() + 120
    while shop.waiting() or ran(trace_file).keys() != committed:
        texts = [process.text for process in running.processes]
        assert time.perf_counter() < until, f"seed {seed}: {shop.waiting()} rows wait, {texts}"
        time.sleep(0.05)  # no event announces the fact
    for name in ("relay", "relay of Django"):
        eventually(lambda: "runs; Ctrl-C ends it" in processes[name].text, "the relay listens to signals")  # noqa: B023
        processes[name].signal(signal.SIGTERM)
        assert processes[name].ends() == 0, processes[name].text
    shop.engine.dispose()
    assert {number: ids for number, ids in ran(trace_file).items() if len(ids) != 1} == {}, f"seed {seed}"
    assert 0 < len(committed) < shop.number
