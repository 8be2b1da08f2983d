"""The outbox of SQLAlchemy: sessions, the command of the relay, and the page about it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from tests.contrib.outbox.work import ran, trace
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.tidy.tree import ROOT
from tests.waiting import eventually

from distq.contrib.sqlalchemy import OutboxTable

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
    done = command(url)
    assert (done.returncode, "There is no key" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


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
