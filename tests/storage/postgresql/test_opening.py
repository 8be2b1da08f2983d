"""Opening the store: leaders that wait, hosts, passwords, rights, versions, and clusters beside each other."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.storage.committer import body_of, committer
from tests.storage.contract import contents, follow
from tests.storage.loop import on_loop
from tests.storage.postgresql.opened import becomes, opened, stop_renewing
from tests.storage.postgresql.server import PostgresServer, standby_of
from tests.waiting import SOON_S

from distq.core.ports import KEEP, CommitRefused, StoreError
from distq.storage import open_store
from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql import store as store_module
from distq.storage.postgresql import tables
from distq.storage.postgresql.leader_process import has_ended
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.store import PostgresStore
from distq.storage.postgresql.target import parse_target

pytestmark = pytest.mark.postgresql

LONG_LEASE_S = 600.0
PASSWORD = "a pass/word @ of ?tests%"


async def sentence(url: str, **options: object) -> str:
    """Return the error of a store that cannot be opened."""
    with pytest.raises(StoreUnusable) as caught:
        async with opened(url, **options):  # type: ignore[arg-type] # passed on unchanged
            pass
    assert PASSWORD not in repr(caught.value)
    return str(caught.value)


@pytest.fixture
def guarded(server: PostgresServer) -> str:
    """Return a URL over TCP without its password, which the role `guest` needs there."""
    server.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    server.sql("CREATE SCHEMA distq AUTHORIZATION guest")
    (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    server.sql("SELECT pg_reload_conf()")
    return f"postgresql://guest@127.0.0.1:{server.port}/postgres"


# -- one leader at a time --------------------------------------------------------------------------


@on_loop
async def test_a_second_master_waits_until_the_first_one_has_ended(place: str) -> None:
    """As with a file: it says for which master it waits, and loads what that one has stored."""
    async with opened(place, lead=False) as first, opened(place, lead=False) as second:
        await follow(first, "10.0.0.1:9000")
        following = asyncio.ensure_future(follow(second, "10.0.0.2:9000"))
        await becomes(lambda: second.waiting)
        assert second.waiting == "the master at 10.0.0.1:9000 leads this cluster"
        assert (second.epoch, second.leader) == (0, "10.0.0.1:9000")
        await first.commit({1: (b"h", b"one")})
        await first.close()
        assert await following == {1: b"h"}
        assert (second.epoch, second.leader, second.waiting) == (first.epoch + 1, "10.0.0.2:9000", "")
        assert (await second.health())["role"] == "leader"


@on_loop
async def test_p1_confirmed_rows_are_there_after_the_master_was_killed(place: str) -> None:
    """The next master takes over as soon as the server has seen the end of the connection."""
    with committer(place) as process:
        assert process.stdout is not None
        confirmed = [int(await asyncio.to_thread(process.stdout.readline)) for _ in range(20)]
        async with opened(place, lead=False) as store:
            following = asyncio.ensure_future(follow(store))
            await becomes(lambda: store.waiting)
            process.send_signal(signal.SIGKILL)
            confirmed += map(int, await asyncio.to_thread(process.stdout.readlines))
            heads = set(await following)
            assert heads in (set(confirmed), {*confirmed, confirmed[-1] + 1})
            keys = tuple(confirmed[-3:])
            assert await contents(store, keys) == {key: body_of(key) for key in keys}


@on_loop
async def test_a_leader_without_sessions_is_not_replaced_while_its_process_lives(
    shared_server: PostgresServer, place: str
) -> None:
    """Its port says whether it lives; when that is closed too, a standby leads before the end of the lease."""
    first = PostgresStore(place, {}, None, lease_s=LONG_LEASE_S)
    with socket.create_server(("127.0.0.1", 0)) as port:
        await follow(first, f"127.0.0.1:{port.getsockname()[1]}")
        stop_renewing(first)
        async with opened(place, lead=False) as second:
            following = asyncio.ensure_future(follow(second))
            await becomes(lambda: second.waiting)
            shared_server.end_sessions("commit")
            shared_server.end_sessions("lock")
            port.settimeout(SOON_S)
            for _ in range(3):
                (await asyncio.to_thread(port.accept))[0].close()  # a standby asks, again and again
            assert (second.epoch, first.check_lease()) == (0, True)
            port.close()
            await following
            assert second.epoch == first.epoch + 1
            assert first.check_lease()
            await first.close()


@on_loop
async def test_a_master_started_in_the_place_of_a_killed_leader_leads_without_waiting_for_the_lease(
    shared_server: PostgresServer, place: str
) -> None:
    """It listens at the leader's address itself: an answer there is its own, and proves nothing about the leader."""
    first = PostgresStore(place, {}, None, lease_s=LONG_LEASE_S)
    with socket.create_server(("127.0.0.1", 0)) as port:
        address = f"127.0.0.1:{port.getsockname()[1]}"
        await follow(first, address)
        stop_renewing(first)
        shared_server.end_sessions("commit")
        shared_server.end_sessions("lock")
        async with opened(place, lead=False) as second:
            await follow(second, address)
            assert second.epoch == first.epoch + 1
    await first.close()


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1:99999999", "[::1]:x", ":9000"])
def test_an_address_that_names_no_machine_does_not_prove_that_a_leader_has_ended(address: str) -> None:
    """Then a standby waits for the end of the lease."""
    assert not has_ended(address)


def test_a_machine_that_refuses_connections_has_no_leader() -> None:
    """A master listens for the life of its process, also while it is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        address = f"127.0.0.1:{port.getsockname()[1]}"
        assert not has_ended(address)
    assert has_ended(address)


@on_loop
async def test_a_leader_whose_lock_session_ended_takes_the_lock_again(
    shared_server: PostgresServer, place: str
) -> None:
    """Otherwise a second master would begin an epoch while the first one works."""
    async with opened(place) as first:
        shared_server.end_sessions("lock")
        while (await first.health())["hangs"]:
            pass
        async with opened(place, lead=False) as second:
            following = asyncio.ensure_future(follow(second))
            await becomes(lambda: second.waiting)
            await first.commit({1: (b"h", b"b")})
            await first.close()
            assert await following == {1: b"h"}


@on_loop
async def test_two_clusters_and_two_schemas_share_a_database(shared_server: PostgresServer, place: str) -> None:
    """Each cluster has its own leader and its own rows, also for equal keys."""
    urls = (f"{place}&cluster=one", f"{place}&cluster=two", f"{place}_b&cluster=one")
    for body, url in enumerate(urls):
        async with opened(url) as store:
            await store.commit({1: (b"h", b"%d" % body), body + 2: (b"h", b"")})
    async with opened(urls[0]) as one, opened(urls[1]) as two, opened(urls[2]) as three:
        assert [await store.read([1]) for store in (one, two, three)] == [[b"0"], [b"1"], [b"2"]]
        await two.commit({1: None})
        with pytest.raises(CommitRefused):
            await two.commit({1: (b"h", KEEP)})
        assert [await store.read([1]) for store in (one, two, three)] == [[b"0"], [None], [b"2"]]
    async with opened(urls[0], lead=False) as one:
        assert await follow(one) == {1: b"h", 2: b"h"}


@on_loop
async def test_more_heads_than_one_answer_are_loaded_in_order(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages neither overlap nor leave a head out."""
    monkeypatch.setattr("distq.storage.postgresql.following.HEADS_PER_PAGE", 7)
    keys = [*range(-10, 20), (1 << 63) - 1]
    async with opened(place) as store:
        await store.commit(dict.fromkeys(reversed(keys), (b"h", b"")))
    async with opened(place, lead=False) as store:
        pages = [[key for key, _ in page] async for page in store.follow("here")]
    assert [len(page) for page in pages] == [7, 7, 7, 7, 3]
    assert [key for page in pages for key in page] == keys


# -- the server and its hosts ----------------------------------------------------------------------


@on_loop
async def test_a_database_that_does_not_run_is_waited_for(server: PostgresServer) -> None:
    """A restart of the database, or of both, needs no operator: the store names what it waits for."""
    server.stop()
    async with opened(server.url, lead=False) as store:
        following = asyncio.ensure_future(follow(store))
        await becomes(lambda: store.waiting)
        assert "cannot be reached" in store.waiting
        server.start()
        assert await following == {}


@on_loop
async def test_a_silent_first_host_does_not_hide_the_second(server: PostgresServer) -> None:
    """The timeout of a connection is for each host."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{server.port}"
        async with opened(f"postgresql://distq@{hosts}/postgres?connect_timeout=2") as store:
            await store.commit({1: (b"h", b"b")})


@on_loop
async def test_a_standby_is_passed_over_until_it_is_promoted(server: PostgresServer) -> None:
    """After the failover the store leads on the promoted server, with every row that was confirmed."""
    with standby_of(server) as standby:
        url = standby.url_with(server)
        async with opened(url) as store:
            await store.commit({1: (b"h", b"one")})
        server.kill()
        async with opened(url, lead=False) as store:
            following = asyncio.ensure_future(follow(store))
            await becomes(lambda: store.waiting)
            standby.promote()
            assert await following == {1: b"h"}
            assert await store.read([1]) == [b"one"]
            await store.commit({2: (b"h", b"two")})


@on_loop
async def test_a_read_only_server_is_waited_for(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby of the database may be promoted later than PATIENCE_S, and no master needs an operator then."""
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.0)
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    server.sql("SELECT pg_reload_conf()")
    await becomes(lambda: server.sql("SHOW default_transaction_read_only") == [("on",)])
    async with opened(server.url, lead=False) as store:
        following = asyncio.ensure_future(follow(store))
        looks = 0

        def looked() -> bool:
            nonlocal looks
            looks, store.waiting = looks + bool(store.waiting), ""
            return looks > 2 or following.done()

        await becomes(looked)
        assert not following.done()
        server.sql("ALTER SYSTEM RESET default_transaction_read_only")
        server.sql("SELECT pg_reload_conf()")
        assert await following == {}


@on_loop
async def test_a_standby_that_waits_for_a_lease_leaves_the_lock_to_the_earlier_leader(server: PostgresServer) -> None:
    """After a restart of the database the master of the last epoch leads at once; others wait for the lease."""
    async with opened(server.url) as first:
        epoch = first.epoch
    server.sql("UPDATE distq.distq_leases SET released = false, lease_ms = 600000, server_started_at = 'epoch'")
    async with opened(server.url, lead=False) as other:
        following = asyncio.ensure_future(follow(other))
        await becomes(lambda: other.waiting)
        again = PostgresStore(server.url, {}, None, lease_s=5.0, led_epoch=epoch)
        try:
            await follow(again)
            assert again.epoch == epoch + 1
        finally:
            following.cancel()
            await again.close()


@on_loop
async def test_a_dead_network_ends_a_session(server: PostgresServer) -> None:
    """Keepalives notice it while distq waits, the user timeout while distq sends; the URL may change both."""
    for query, idle_s, unsent_ms in (("", 4, 10_000), ("?keepalives_idle=9&tcp_user_timeout=3000", 9, 3_000)):
        target = parse_target(f"postgresql://distq@127.0.0.1:{server.port}/postgres{query}")
        session = DatabaseSession(Access(target, {}, None), "test")
        with socket.socket(fileno=os.dup(session._server.socket)) as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle_s
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == unsent_ms
        assert session.run("SHOW tcp_user_timeout") == [(b"10000",)]
        session.close()


# -- passwords -------------------------------------------------------------------------------------


@on_loop
async def test_the_password_comes_from_the_url_a_file_or_pgpass(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password in the URL takes precedence; the line end of a file is not part of the password."""
    async with opened(guarded, secrets={"password": PASSWORD}):
        pass
    file = tmp_path / "password"
    file.write_text("wrong\n")
    async with opened(guarded, secrets={"password": PASSWORD}, password_file=file):
        pass
    file.write_text(f"{PASSWORD}\n")
    async with opened(guarded, password_file=file):
        pass
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"127.0.0.1:*:*:guest:{PASSWORD}\n")
    pgpass.chmod(0o600)
    async with opened(f"{guarded}?passfile={pgpass}") as store:
        assert PASSWORD not in repr(await store.health()) + repr(vars(store)) + repr(vars(store._commits))


@on_loop
async def test_a_wrong_password_is_a_sentence_without_it(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server runs and rejects the connection: after a while the master ends instead of waiting for ever."""
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.5)
    text = await sentence(guarded, secrets={"password": "wr0ng"})
    assert 'password authentication failed for user "guest"' in text
    assert "wr0ng" not in text
    assert "no password supplied" in await sentence(guarded)
    missing = tmp_path / "missing"
    assert f"DISTQ_STORE_PASSWORD_FILE is {missing}, which cannot be read: No such" in await sentence(
        guarded, password_file=missing
    )
    missing.write_text("\n")
    assert "which is empty" in await sentence(guarded, password_file=missing)


@on_loop
async def test_a_password_that_changes_ends_no_leader(guarded: str, server: PostgresServer) -> None:
    """A session that is open stays open; the next connection needs the new password."""
    async with opened(guarded, secrets={"password": PASSWORD}) as store:
        server.sql("ALTER ROLE guest PASSWORD 'another'")
        server.end_sessions("lock")
        while 'password authentication failed for user "guest"' not in str((await store.health())["not_answering"]):
            pass
        await store.commit({1: (b"h", b"b")})
    async with opened(guarded, secrets={"password": "another"}) as store:
        assert await store.read([1]) == [b"b"]


# -- rights, versions, URLs ------------------------------------------------------------------------


@on_loop
async def test_missing_rights_are_a_sentence(server: PostgresServer) -> None:
    """The role needs the right to create the schema, or a schema of its own."""
    server.sql("CREATE ROLE guest LOGIN")
    url = server.url.replace("distq@", "guest@")
    text = await sentence(url)
    assert "(42501): permission denied for database postgres. Let the role of DISTQ_STORE own the schema" in text
    server.sql("CREATE SCHEMA distq AUTHORIZATION guest")
    async with opened(url) as store:
        await store.commit({1: (b"h", b"b")})
    server.sql("CREATE ROLE other LOGIN")
    assert "(42501): permission denied" in await sentence(server.url.replace("distq@", "other@"))


@on_loop
@pytest.mark.parametrize("word", ["user", "order", "select", "distq_2"])
async def test_a_schema_may_have_the_name_of_a_word_of_sql(shared_server: PostgresServer, word: str) -> None:
    """Rows that were stored there are there again, and `bodies` and the figures are read."""
    url = f"{shared_server.url}&schema={word}"
    async with opened(url) as store:
        await store.commit({1: (b"h", b"b")})
    async with opened(url) as again:
        assert await again.read([1]) == [b"b"]
        assert (await again.health())["bytes"]


@on_loop
async def test_tables_of_a_newer_release_are_a_sentence_and_stay_as_they_are(
    shared_server: PostgresServer, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a file: the older release must not touch them."""
    async with opened(place) as store:
        await store.commit({1: (b"h", b"b")})
    schema = parse_target(place).schema
    shared_server.sql(f"UPDATE {schema}.distq_version SET version = 99")
    text = await sentence(place)
    assert f"were made by a newer distq (they are version 99, this one knows up to {tables.VERSION})" in text
    shared_server.sql(f"UPDATE {schema}.distq_version SET version = {tables.VERSION}")
    monkeypatch.setattr(tables, "OLDEST_SERVER", 99)
    assert "distq needs version 99 or later" in await sentence(place)


@on_loop
async def test_masters_that_make_the_tables_at_the_same_instant_both_go_on(place: str) -> None:
    """One makes them; the others wait and find them."""
    async with opened(f"{place}&cluster=a", lead=False) as a, opened(f"{place}&cluster=b", lead=False) as b:
        first, second = await asyncio.gather(follow(a), follow(b))
        assert (first, second) == ({}, {})


@on_loop
async def test_an_older_schema_is_migrated(
    shared_server: PostgresServer, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows stay; all missing migrations run in one transaction, or none."""
    async with opened(place) as store:
        await store.commit({1: (b"h", b"b")})
    added = (*tables.MIGRATIONS, ("CREATE TABLE {schema}.distq_added ()",), ("SELECT no_such_column",))
    monkeypatch.setattr(tables, "MIGRATIONS", added)
    monkeypatch.setattr(tables, "VERSION", len(added))
    assert "(42703)" in await sentence(place)
    monkeypatch.setattr(tables, "MIGRATIONS", added[:-1])
    monkeypatch.setattr(tables, "VERSION", len(added) - 1)
    async with opened(place) as store:
        assert await store.read([1]) == [b"b"]
    assert shared_server.sql(f"SELECT version FROM {parse_target(place).schema}.distq_version") == [(len(added) - 1,)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("schema=No-Name", "The schema in DISTQ_STORE is 'No-Name'; it takes 1 to 40 lower-case letters"),
        ("cluster=", "The cluster in DISTQ_STORE is ''; it takes"),
        ("colour=red", 'which libpq cannot read: invalid URI query parameter: "colour"'),
        ("sslmode=maybe", 'invalid sslmode value: "maybe"'),
    ],
)
@on_loop
async def test_a_wrong_parameter_is_a_sentence(
    shared_server: PostgresServer, query: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of the schema and the cluster are distq's, all other parameters libpq's."""
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.5)
    assert text in await sentence(f"{shared_server.url}&{query}")


def test_a_parameter_that_libpq_does_not_know_is_named_without_its_value() -> None:
    """A mistake in the name `password` makes its value a secret, which the error must not repeat."""
    access = Access(parse_target("postgresql://u@h/db"), {"pasword": PASSWORD}, None)
    with pytest.raises(StoreUnusable, match='libpq cannot read: invalid connection option "pasword"') as caught:
        access.conninfo("lock")
    assert PASSWORD not in str(caught.value)


def test_a_missing_driver_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master without the extra starts as fast as before, and says what to install when it needs it."""
    program = (
        "import sys\nsys.modules['psycopg'] = None\nfrom distq.storage import open_store\nopen_store('memory:', 1.0)\n"
    )
    program += "open_store('postgresql://h/db', 1.0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Install it with `pip install 'distq[postgresql]'`" in done.stderr.splitlines()[-1]


def test_a_master_on_a_file_does_not_import_the_driver() -> None:
    """Its start time and its memory are those of a master without the extra."""
    program = "import sys, distq.master.main; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@on_loop
async def test_a_copy_is_refused_with_the_name_of_the_right_tool(place: str) -> None:
    """`distq store backup` copies a file; a database has tools of its own."""
    async with opened(place) as store:
        with pytest.raises(CommitRefused, match=f"pg_dump --schema={parse_target(place).schema}"):
            await store.copy()


@on_loop
async def test_a_store_that_is_closed_while_it_waits_ends(place: str) -> None:
    """A master that is stopped before it leads ends its sessions."""
    async with opened(place):
        store = open_store(place, 0.0)
        following = asyncio.ensure_future(follow(store))
        await becomes(lambda: store.waiting)
        await store.close()
        with pytest.raises(StoreError):
            await following


@on_loop
async def test_the_largest_session_name_fits(shared_server: PostgresServer, place: str) -> None:
    """The server cuts a name after 63 bytes, and two clusters would then end each other's sessions."""
    async with opened(f"{place}&cluster={'c' * 40}"):
        names = shared_server.sql("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'distq %'")
        assert sorted(name for (name,) in names if "cccc" in name) == sorted(
            parse_target(f"{place}&cluster={'c' * 40}").session_name(use) for use in ("commit", "lock")
        )


@on_loop
async def test_a_session_that_ended_between_two_commits_is_opened_again(server: PostgresServer) -> None:
    """No commit was under way; `health` finds it, and the epoch of the new session is the leader's."""
    async with opened(server.url) as store:
        await store.commit({1: (b"h", b"one")})
        server.end_sessions("commit")
        while (await store.health())["hangs"]:
            pass
        await store.commit({2: (b"h", b"two")})
        assert await store.read([1, 2]) == [b"one", b"two"]
