"""The outbox of SQLAlchemy: sessions, the command of the relay, and the page about it."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session, sessionmaker
from tests.contrib.outbox.work import ran, trace
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq
from distq.contrib.sqlalchemy import OutboxTable


class Base(DeclarativeBase):
    """The declarations of a program."""


PAGE = ROOT / "docs" / "how-to" / "outbox.md"


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster whose processes the test starts."""
    with cluster(tmp_path) as running:
        yield running


def command(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run the command of the relay to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "distq.contrib.sqlalchemy", *arguments],
        env={**os.environ, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_rows_of_sessions_run_and_a_signal_ends_the_relay(running: Cluster, tmp_path: Path) -> None:
    """Session, scoped session and connection; a row belongs to their transaction."""
    url, trace_file = f"sqlite:///{tmp_path / 'data.db'}", tmp_path / "trace"
    engine = create_engine(url)
    metadata = MetaData()
    outbox = OutboxTable(metadata, "the_outbox")
    metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        key = outbox.add(session, trace, 1)
        assert re.fullmatch("[0-9a-f]{32}", key)
    with Session(engine) as session:
        outbox.add(session, trace, 2)  # never committed
    scoped = scoped_session(sessionmaker(engine))
    outbox.options(priority=9).add(scoped, trace, 3)
    scoped.commit()
    scoped.remove()
    with engine.begin() as connection:
        outbox.add(connection, trace, 4)
    with engine.begin() as connection:
        assert connection.scalars(select(outbox.table.c.name).distinct()).all() == ["tests.contrib.outbox.work:trace"]
    engine.dispose()
    running.master()
    running.run("worker", "tests.contrib.outbox.work", OUTBOX_TRACE=str(trace_file))
    relay = running.run(
        "--table", "the_outbox", "--interval", "0.05", url, launcher=("-W", "error", "-m", "distq.contrib.sqlalchemy")
    )
    eventually(lambda: set(ran(trace_file)) == {1, 3, 4}, "three tasks have run", lambda: relay.text)
    relay.signal(signal.SIGINT)
    assert relay.ends() == 0
    assert relay.text == "The relay of the outbox runs; Ctrl-C ends it.\n"


def test_the_command_explains_mistakes(tmp_path: Path) -> None:
    """A wrong URL, a missing table, a missing driver, a missing key."""
    url = f"sqlite:///{tmp_path / 'data.db'}"
    for arguments, text in (
        (["nonsense"], "URL cannot be read"),
        (["mysql+pymysql://host/db"], "driver of the database"),
        ([url], "The database has no table 'distq_outbox'. Create it with metadata.create_all."),
        (["sqlite:////nonexistent/data.db"], "unable to open database file"),
        (["postgresql+psycopg://host:abc/db"], "URL cannot be read"),
        ([url, "--interval", "nan"], "--interval is a number of seconds from 0.01 to 86,400, not nan"),
        ([url, "--interval", "inf"], "--interval is a number of seconds from 0.01 to 86,400, not inf"),
        ([url, "--interval", "0"], "--interval is a number of seconds from 0.01 to 86,400, not 0.0"),
        ([url, "--interval", "-1"], "--interval is a number of seconds from 0.01 to 86,400, not -1.0"),
    ):
        done = command(*arguments)
        assert done.returncode != 0
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    metadata = MetaData()
    outbox = OutboxTable(metadata)
    engine = create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        outbox.add(connection, trace, 1)
    engine.dispose()
    assert command(url, "--doubtful", "status").stdout == "1 row waiting, 0 rows in doubt\n"
    spaced = command("--doubtful", "status", DATABASE_URL=f" {url}\r\n")  # as settings of distq in such a file
    assert (spaced.stdout, spaced.stderr) == ("1 row waiting, 0 rows in doubt\n", "")
    done = command(url)
    assert (done.returncode, "There is no key" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize("value", ["1M", "512", "", math.nan, 2048.0, -1, 0, 1023, True, None])
def test_a_wrong_size_of_payloads_is_refused_where_it_is_given(value: Any) -> None:
    """With the same limits as DISTQ_PAYLOAD_BYTES_MAX; no table is declared."""
    metadata = MetaData()
    with pytest.raises(
        (TypeError, ValueError), match=r"^payload_bytes_max is a size of at least 1,024 bytes: "
    ) as raised:
        OutboxTable(metadata, payload_bytes_max=value)
    assert repr(value) in str(raised.value)
    assert not metadata.tables


@pytest.mark.parametrize("value", [2048, "2048", "2KiB", " 2KiB\r\n"])
def test_a_size_of_payloads_is_a_number_or_a_text(value: int | str) -> None:
    """As DISTQ_PAYLOAD_BYTES_MAX takes it; options keep it."""
    outbox = OutboxTable(MetaData(), payload_bytes_max=value)
    with pytest.raises(distq.PayloadTooLarge, match="2,048 are allowed"):
        outbox.options(priority=1).add(Session(), len, b"x" * 2048)


def test_an_argument_without_a_transaction_is_refused_with_what_to_give() -> None:
    """An engine, nothing, a function, what makes sessions: no transaction would have the row."""
    outbox = OutboxTable(MetaData())
    engine = create_engine("sqlite://")
    sentence = "^a row is added to the transaction of a Session, a scoped_session or a Connection, not of "
    wrong: list[Any] = [engine, None, trace, sessionmaker(engine)]
    for value in wrong:
        with pytest.raises(TypeError, match=sentence) as raised:
            outbox.add(value, trace, 1)
        assert repr(value)[:40] in str(raised.value)
        assert "`with engine.begin() as connection`" in str(raised.value)
        assert "`await session.run_sync(lambda sync: outbox.add(sync, ...))`" in str(raised.value)
    with pytest.raises(TypeError, match=r"metadata is a MetaData, such as Base\.metadata, not "):
        OutboxTable(Base)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="engine is an Engine of SQLAlchemy, not 'sqlite://'"):
        outbox.relay("sqlite://")  # type: ignore[arg-type]
    intervals: list[Any] = [math.nan, math.inf, 0, 1e9, 10**400, True, "1s"]
    for interval_s in intervals:
        with pytest.raises((TypeError, ValueError), match=r"^interval_s is a number of seconds from 0\.01 to 86,400"):
            outbox.relay(engine, interval_s=interval_s)
    engine.dispose()


def test_the_program_of_the_page_runs(running: Cluster, tmp_path: Path) -> None:
    """docs/how-to/outbox.md: what it adds runs as a task."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["jobs.py", "shop.py"]
    for name, source in blocks:
        (tmp_path / name).write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "shop.py"], cwd=tmp_path, env=environment, check=True)
    running.master()
    worker = running.run("worker", "jobs", PYTHONPATH=str(tmp_path))
    settings = {"DISTQ_ADDRESS": f"127.0.0.1:{running.port}", "DISTQ_AUTHKEY": KEY}
    done = command(f"sqlite:///{tmp_path / 'shop.db'}", "--once", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: "a receipt for order 1" in worker.text, "the task has run", lambda: worker.text)


def test_a_program_without_sqlalchemy_is_given_the_command() -> None:
    """SQLAlchemy itself would name a missing module only."""
    source = "import sys; sys.modules['sqlalchemy'] = None\nimport distq.contrib.sqlalchemy"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert "distq.client.unsendable.ExtraMissing: distq.contrib.sqlalchemy needs SQLAlchemy 2.0 or newer" in done.stderr
    assert "pip install 'distq[sqlalchemy]'" in done.stderr
