"""What each error of a real server means for the commit that meets it: refused, fenced or unknown."""

import asyncio
import signal
import subprocess

import psycopg
import pytest
from tests.storage.committer import committer
from tests.storage.contract import contents, follow
from tests.storage.loop import on_loop
from tests.storage.postgresql.opened import becomes, opened, row_locked, stop_renewing, waits_for
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder
from tests.volume import small_volume

from distq.core.ports import KEEP, Batch, CommitRefused, CommitUnknown, Fenced, StoreError
from distq.storage.postgresql.errors import ServerError, outcome
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.store import PostgresStore
from distq.storage.postgresql.target import parse_target

pytestmark = pytest.mark.postgresql

NEW: Batch = {1: (b"new", KEEP), 2: None, 3: (b"h", b"three")}
BEFORE = {1: b"one", 2: b"two", 3: None}
AFTER = {1: b"one", 2: None, 3: b"three"}
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'distq commit %'"
NO_STANDBY = "ALTER SYSTEM SET synchronous_standby_names = 'absent'"

HEAD_AND_BODY = (b"head", b"x" * 100_000)


async def commit_until_it_fails(store: PostgresStore) -> None:
    """Commit one row after another, of 100 kB each, until a commit fails."""
    for number in range(1, 1_000):
        await store.commit({number: HEAD_AND_BODY})


async def until_it_fails(store: PostgresStore) -> None:
    """Commit nothing until a commit fails: a session reads a changed setting at one of its next statements."""
    while True:
        await store.commit({})


async def two_rows(store: PostgresStore) -> None:
    """Store the rows of BEFORE."""
    await store.commit({1: (b"h", b"one"), 2: (b"h", b"two")})


@on_loop
async def test_a_cancelled_statement_is_a_refusal_and_the_store_works_on(server: PostgresServer) -> None:
    """57014 before the commit: the server has undone the statement."""
    async with opened(server.url) as store:
        await two_rows(store)
        async with row_locked(server, "distq"):
            commit = asyncio.ensure_future(store.commit(NEW))
            await becomes(waits_for(server, "transactionid"))
            server.sql(CANCEL)
            with pytest.raises(CommitRefused, match="57014"):
                await commit
        assert await contents(store, (1, 2, 3)) == BEFORE
        await store.commit(NEW)
        assert await contents(store, (1, 2, 3)) == AFTER


@on_loop
async def test_a_statement_timeout_is_a_refusal(server: PostgresServer) -> None:
    """The role's statement_timeout, or the one in the URL, ends a statement and never a commit that waits."""
    async with opened(f"{server.url}&options=-c%20statement_timeout%3D400") as store:
        await two_rows(store)
        async with row_locked(server, "distq"):
            with pytest.raises(CommitRefused, match="57014"):
                await store.commit(NEW)
        assert await contents(store, (1, 2, 3)) == BEFORE
        await store.commit(NEW)


@on_loop
async def test_a_terminated_session_is_unknown_and_ends_the_store(server: PostgresServer) -> None:
    """No answer tells what became of the commit; only the next `follow` shows it."""
    async with opened(server.url) as store:
        await two_rows(store)
        async with row_locked(server, "distq"):
            commit = asyncio.ensure_future(store.commit(NEW))
            await becomes(waits_for(server, "transactionid"))
            server.end_sessions("commit")
            with pytest.raises(CommitUnknown):
                await commit
        assert await store.lost()
        with pytest.raises(CommitUnknown):
            await store.commit({})
        assert (await store.health())["broken"]
        with pytest.raises(StoreError):
            await follow(store)
    async with opened(server.url) as store:
        assert await contents(store, (1, 2, 3)) == BEFORE


@on_loop
async def test_a_session_that_ended_between_two_commits_is_unknown(server: PostgresServer) -> None:
    """The store cannot tell it from an end during the commit; an idle session ends by an operator or a restart."""
    async with opened(server.url) as store:
        await two_rows(store)
        server.end_sessions("commit")
        with pytest.raises(StoreError):
            await store.read([1])
        with pytest.raises(CommitUnknown):
            await store.commit(NEW)


@on_loop
async def test_p1_confirmed_rows_are_there_after_the_server_was_killed(server: PostgresServer) -> None:
    """The commit that the kill met is stored completely or not at all."""
    confirmed: list[int] = []

    async def commit_pairs(store: PostgresStore) -> None:
        for number in range(2, 1_000_000, 2):
            if number == 400:
                asyncio.get_running_loop().run_in_executor(None, server.kill)
            await store.commit(dict.fromkeys((number, number + 1), (b"head", b"body %d" % number)))
            confirmed.extend((number, number + 1))

    async with opened(server.url) as store:
        with pytest.raises(CommitUnknown):
            await commit_pairs(store)
    server.start()
    async with opened(server.url, lead=False) as store:
        heads = await follow(store)
    last = confirmed[-1]
    assert set(heads) in (set(confirmed), {*confirmed, last + 1, last + 2})


@on_loop
async def test_a_commit_that_waits_for_a_standby_is_not_cancelled_with_its_caller(server: PostgresServer) -> None:
    """A cancelled wait would be confirmed although the row is on one server only."""
    async with opened(server.url) as store:
        await two_rows(store)
        server.sql(NO_STANDBY)
        server.sql("SELECT pg_reload_conf()")
        await becomes(lambda: server.sql("SHOW synchronous_standby_names") == [("absent",)])
        commit = asyncio.ensure_future(store.commit(NEW))
        await becomes(waits_for(server, "SyncRep"))
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)
        assert "does not answer" in str((await store.health())["not_answering"])
        assert waits_for(server, "SyncRep")()
        server.sql("ALTER SYSTEM RESET synchronous_standby_names")
        server.sql("SELECT pg_reload_conf()")
        assert await contents(store, (1, 2, 3)) == AFTER
        await store.commit({})


@pytest.mark.parametrize("end", ["cancel", "terminate", "kill"])
@on_loop
async def test_a_wait_for_a_standby_that_ends_is_unknown(server: PostgresServer, end: str) -> None:
    """The server confirms a cancelled wait as a success with a warning; the row is on one server only."""
    async with opened(server.url) as store:
        await two_rows(store)
        server.sql(NO_STANDBY)
        server.sql("SELECT pg_reload_conf()")
        await becomes(lambda: server.sql("SHOW synchronous_standby_names") == [("absent",)])
        commit = asyncio.ensure_future(store.commit(NEW))
        await becomes(waits_for(server, "SyncRep"))
        if end == "cancel":
            server.sql(CANCEL)
        elif end == "terminate":
            server.end_sessions("commit")
        else:
            server.kill()
        with pytest.raises(CommitUnknown):
            await commit
    if end == "kill":
        server.start("synchronous_standby_names=")
    async with opened(f"{server.url}&options=-c%20synchronous_commit%3Dlocal") as store:
        assert await contents(store, (1, 2, 3)) == AFTER


@on_loop
async def test_the_next_leader_ends_the_abandoned_session_of_a_killed_one(server: PostgresServer) -> None:
    """It waits for a standby for ever and keeps the lock of the cluster's row; what it has stored is loaded."""
    with committer(server.url) as process:
        assert process.stdout is not None
        first = int(await asyncio.to_thread(process.stdout.readline))
        server.sql(NO_STANDBY)
        server.sql("SELECT pg_reload_conf()")
        await becomes(waits_for(server, "SyncRep"))
        process.send_signal(signal.SIGKILL)
        confirmed = [first, *map(int, await asyncio.to_thread(process.stdout.readlines))]
    assert waits_for(server, "SyncRep")()
    async with opened(f"{server.url}&options=-c%20synchronous_commit%3Dlocal", lead=False) as store:
        heads = await follow(store)
        assert set(heads) == {*confirmed, confirmed[-1] + 1}
        assert not waits_for(server, "SyncRep")()
        await store.commit({})


@on_loop
async def test_a_read_only_server_fences(server: PostgresServer) -> None:
    """25006: a server that has become a standby, or that an operator has made read-only, stores nothing."""
    async with opened(server.url) as store:
        await two_rows(store)
        server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        server.sql("SELECT pg_reload_conf()")
        await becomes(lambda: server.sql("SHOW default_transaction_read_only") == [("on",)])
        with pytest.raises(Fenced, match="25006"):
            await until_it_fails(store)
        assert await store.lost()


@on_loop
async def test_an_empty_batch_of_a_fenced_leader_is_fenced(server: PostgresServer) -> None:
    """The server answers an empty insert as a success whatever the epoch is: the fence's count is the answer."""
    async with opened(server.url) as first:
        stop_renewing(first)
        server.depose()
        async with opened(server.url):
            with pytest.raises(Fenced, match="Another master leads"):
                await first.commit({})


@on_loop
async def test_health_notices_another_leader_before_the_next_commit(server: PostgresServer) -> None:
    """A leader that commits nothing must not lease tasks that another one leases too."""
    async with opened(server.url) as first:
        stop_renewing(first)
        server.depose()
        async with opened(server.url, lead=False) as second:
            await follow(second, "10.0.0.2:9000")
            while (health := await first.health())["hangs"]:
                pass
            assert (await first.health())["role"] == "standby"
            assert "10.0.0.2:9000 leads the cluster" in await first.lost()
            with pytest.raises(Fenced):
                await first.commit({})
            assert health["kind"] == "postgresql"


@on_loop
async def test_settings_of_the_role_do_not_weaken_a_commit(server: PostgresServer) -> None:
    """Under REPEATABLE READ a fenced commit fails with 40001, and without warnings a cancelled wait succeeds."""
    for setting in (
        *("default_transaction_isolation = 'repeatable read'", "TimeZone = 'Asia/Kathmandu'", "lock_timeout = '1ms'"),
        *("client_min_messages = error", "synchronous_commit = off", "search_path = nowhere", "enable_indexscan = off"),
    ):
        server.sql(f"ALTER ROLE distq SET {setting}")
    session = DatabaseSession(Access(parse_target(server.url), {}, None), "commit")
    names = ("default_transaction_isolation", "TimeZone", "client_min_messages", "synchronous_commit", "lock_timeout")
    shown = [session.run(f"SHOW {name}")[0][0] for name in names]
    session.close()
    assert shown == [b"read committed", b"UTC", b"warning", b"on", b"0"]
    async with opened(server.url) as first:
        async with row_locked(server, "distq"):
            commit = asyncio.ensure_future(first.commit({1: (b"late", b"late")}))
            await becomes(waits_for(server, "transactionid"))
            server.sql("SELECT 1")
        await commit
        stop_renewing(first)
        server.depose()
        async with opened(server.url):
            with pytest.raises(Fenced):
                await first.commit({2: (b"late", b"late")})


@on_loop
async def test_a_commit_that_waited_for_the_next_leader_is_fenced(server: PostgresServer) -> None:
    """Its statement began in the old epoch; FOR SHARE waits for the row, and finds the new epoch."""
    async with opened(server.url) as store:
        with psycopg.connect(server.conninfo) as leader:
            leader.execute("UPDATE distq.distq_clusters SET epoch = epoch + 1")
            commit = asyncio.ensure_future(store.commit({1: (b"late", b"late")}))
            await becomes(waits_for(server, "transactionid"))
            leader.commit()
        with pytest.raises(Fenced):
            await commit
        assert server.sql("SELECT count(*) FROM distq.distq_rows") == [(0,)]


@pytest.mark.root
@on_loop
async def test_a_full_volume_of_the_tables_is_a_refusal_until_there_is_room() -> None:
    """53100: nothing of the batch is stored, tasks that end are still stored, and the store works on."""
    with short_folder() as folder, server_in(folder) as server, small_volume(folder, 8) as volume:
        server.own(volume)
        server.sql(f"CREATE TABLESPACE small LOCATION '{volume}'")
        server.sql("ALTER ROLE distq SET default_tablespace = small")
        async with opened(server.url) as store:
            with pytest.raises(CommitRefused, match=r"53100.*Make room"):
                await commit_until_it_fails(store)
            ((stored,),) = server.sql("SELECT count(*) FROM distq.distq_rows")
            assert "53100" in str((await store.health())["refusing"])
            assert await store.read([stored, stored + 1]) == [HEAD_AND_BODY[1], None]
            await store.commit({1: None, 2: (b"ends", KEEP)})
            subprocess.run(["mount", "-o", "remount,size=32m", volume], check=True)  # noqa: ASYNC221 - it takes no time
            await store.commit({stored + 1: HEAD_AND_BODY})
            assert (await store.health())["refusing"] == ""


@pytest.mark.root
@on_loop
async def test_a_full_volume_of_the_log_is_unknown() -> None:
    """The server panics and stays down until it has room."""
    small_log = ("min_wal_size=4MB", "max_wal_size=200MB")
    with (
        short_folder() as folder,
        small_volume(folder, 24) as volume,
        server_in(folder, *small_log, wal=volume) as server,
    ):
        async with opened(server.url) as store:
            with pytest.raises(CommitUnknown):
                await commit_until_it_fails(store)
            assert await store.lost()


def test_a_commit_that_the_server_answers_with_rollback_is_an_error(shared_server: PostgresServer) -> None:
    """The server answers COMMIT of a failed transaction with success and the word ROLLBACK."""
    session = DatabaseSession(Access(parse_target(shared_server.url), {}, None), "test")
    session.run("BEGIN")
    with pytest.raises(ServerError, match="division by zero"):
        session.run("SELECT 1 / 0")
    with pytest.raises(ServerError, match="rolled back"):
        session.commit()
    session.close()


@pytest.mark.parametrize(
    ("code", "is_general"),
    [("53100", True), ("55P03", True), ("40001", True), ("58030", True), ("23514", False), ("57014", False)],
)
def test_a_refusal_is_general_if_its_code_blames_no_content(code: str, is_general: bool) -> None:
    """A full volume, a lock, a rollback and an I/O error meet any batch; a constraint or a time limit may meet one."""
    refused = outcome("here", ServerError(code, "ERROR", "no"))
    assert isinstance(refused, CommitRefused)
    assert refused.is_general is is_general
