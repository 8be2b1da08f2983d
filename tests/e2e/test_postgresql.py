"""Tests of a master with its store in a PostgreSQL database: master and database are killed, and no task is lost."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder

import distq

pytestmark = pytest.mark.postgresql

TASKS = 2_000
SECRET = "s3cret-of-the-database"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Yield a server of this test's own."""
    with short_folder() as folder, server_in(folder) as made:
        yield made


def test_p1_tasks_that_postgresql_stores_survive_a_killed_master(grid: Cluster, server: PostgresServer) -> None:
    """Tasks and plain items survive; the password stands in no log."""
    store = {"DISTQ_STORE": server.url.replace("distq@", f"distq:{SECRET}@")}
    master = grid.master(**store)
    with grid.client() as client:
        futures = [client.submit(tasks.square, n) for n in range(TASKS)]
        assert client.flush(30)
        grid.manager().get_work_queue().put("plain")
        master.signal(signal.SIGKILL)
        master.ends()
        again = grid.master(**store)
        assert again.logs("master_listened")[0]["store"] == server.url
        again.logs("tasks_loaded", tasks=TASKS + 1)
        grid.tasks(2)
        assert [future.result(60) for future in futures] == [n * n for n in range(TASKS)]
    assert grid.manager().get_work_queue().get(timeout=20) == "plain"
    again.signal(signal.SIGTERM)
    assert again.ends() == 0
    assert SECRET not in master.text + again.text


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "killed"])
def test_p2_a_database_that_restarts_under_load_loses_nothing(
    grid: Cluster, server: PostgresServer, crash: bool
) -> None:
    """The master stays, waits for the database and leads again; each result arrives once."""
    grid.tasks(2)
    with grid.client() as client, ThreadPoolExecutor() as submitter:
        master = grid.master(DISTQ_STORE=server.url)
        futures = []
        for round_ in range(2):
            futures += [client.submit(tasks.square, n) for n in range(round_ * TASKS, (round_ + 1) * TASKS)]
            futures[-TASKS // 2].result(60)
            if crash:
                server.kill()
            else:
                server.stop()
            # A submit waits if the client knows already that no master leads.
            submitting = submitter.submit(client.submit, tasks.square, -1)
            master.logs("leadership_ended", times=round_ + 1)
            server.start()
            futures.append(submitting.result(60))
            master.logs("leadership_began", times=round_ + 2)
        received = Counter(future.result(60) for future in futures)
    assert received == Counter([*(n * n for n in range(2 * TASKS)), 1, 1])


def test_a_database_that_restarts_while_the_master_is_idle_is_found_again(
    grid: Cluster, server: PostgresServer
) -> None:
    """No commit was under way, so that its outcome is known: the master opens a new session."""
    master = grid.master(DISTQ_STORE=server.url)
    grid.tasks()
    with grid.client() as client:
        assert client.submit(tasks.square, 2).result(30) == 4
        server.stop()
        master.logs("store_refused")
        server.start()
        master.logs("store_recovered")
        assert client.submit(tasks.square, 3).result(30) == 9


def test_a_wrong_password_ends_the_master_with_a_sentence(grid: Cluster, server: PostgresServer) -> None:
    """Exit code 4, the server's text, and no password."""
    server.stop()
    (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    server.start()
    url = f"postgresql://distq:{SECRET}@127.0.0.1:{server.port}/postgres"
    master = grid.run("master", DISTQ_STORE=url)
    assert master.ends() == 4
    assert "password authentication failed for user" in master.text
    assert SECRET not in master.text


CONSTRAINT = ("ALTER TABLE distq.distq_rows ADD CHECK (octet_length(body) < 100000)",)
SLOW = (
    """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF octet_length(NEW.body) > 100000 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$""",
    "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON distq.distq_rows FOR EACH ROW EXECUTE FUNCTION slow()",
)


@pytest.mark.timeout(300)  # six refusals take half a minute, and a loaded machine several times as long
@pytest.mark.parametrize(
    ("rules", "options", "text"),
    [(CONSTRAINT, "", "violates check constraint"), (SLOW, "&options=-c%20statement_timeout%3D1000", "57014")],
    ids=["constraint", "statement timeout"],
)
def test_a_result_that_the_database_refuses_stalls_no_other(
    grid: Cluster, server: PostgresServer, rules: Sequence[str], options: str, text: str
) -> None:
    """Other tasks are submitted and settled meanwhile; its own task fails with the server's text, and had run."""
    master = grid.master(DISTQ_STORE=server.url + options)
    grid.tasks(2)
    with grid.client() as client:
        assert client.submit(tasks.square, 1).result(60) == 1
        for statement in rules:
            server.sql(statement)
        refused = client.submit(tasks.blob, 1)
        master.logs("commit_refused", every_commit=False)
        for n in range(20):
            assert client.submit(tasks.square, n).result(90) == n * n
        with pytest.raises(distq.TaskFailed, match="it had run, but the store refused its return value") as failure:
            refused.result(180)
        assert text in str(failure.value)
        assert client.submit(tasks.square, 9).result(60) == 81
    assert len(server.sql("SELECT 1 FROM distq.distq_rows WHERE octet_length(body) > 100000")) == 0
