"""Following a leader: a standby has all heads when it leads, whatever has happened while it stood by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.storage.contract import Rows
from tests.storage.loop import on_loop
from tests.storage.postgresql.opened import becomes, opened
from tests.storage.postgresql.server import PostgresServer

from distq.core.ports import FORGET, KEEP
from distq.storage.postgresql import following as following_module
from distq.storage.postgresql import store as store_module
from distq.storage.postgresql.store import PostgresStore

pytestmark = pytest.mark.postgresql


class Standby:
    """A store that follows, and the heads that it has yielded."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.heads: Rows = {}
        self.forgotten = 0
        self.pages: list[int] = []
        self.following = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        async for heads in self.store.follow("standby"):
            self.pages.append(len(heads))
            if heads is FORGET:
                self.forgotten += 1
                self.heads.clear()
            for key, head in heads:
                if head is None:
                    self.heads.pop(key, None)
                else:
                    self.heads[key] = head

    async def has(self, heads: Rows) -> None:
        """Wait until these are all its heads."""
        await becomes(lambda: self.heads == heads)

    async def leads(self) -> None:
        """Wait until it leads."""
        await self.following


@asynccontextmanager
async def standby(place: str) -> AsyncIterator[Standby]:
    """Yield a standby."""
    async with opened(place, lead=False) as store:
        made = Standby(store)
        try:
            yield made
        finally:
            made.following.cancel()
            await asyncio.wait((made.following,))


@on_loop
async def test_a_standby_has_each_change_while_the_leader_works(place: str) -> None:
    """Rows that are put, amended and dropped; it reads only these, and leads with no further page of heads."""
    async with opened(place) as leader, standby(place) as follower:
        await leader.commit({1: (b"a", b""), 2: (b"b", b""), -3: (b"c", b"")})
        await follower.has({1: b"a", 2: b"b", -3: b"c"})
        await leader.commit({1: (b"A", KEEP), 2: None, 4: (b"d", b"body")})
        await follower.has({1: b"A", -3: b"c", 4: b"d"})
        assert sum(follower.pages) == 6
        await leader.commit({5: (b"e", b"")})
        await leader.close()
        await follower.leads()
        assert follower.heads == {1: b"A", -3: b"c", 4: b"d", 5: b"e"}
        assert (sum(follower.pages), follower.forgotten) == (7, 0)
        await follower.store.commit({4: (b"D", KEEP)})
        assert await follower.store.read([4]) == [b"body"]


@on_loop
async def test_the_lag_is_the_time_since_the_standby_had_all_heads(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays small while the leader works, and grows without an answer of the database."""
    async with opened(place) as leader, standby(place) as follower:
        await leader.commit({1: (b"a", b"")})
        await follower.has({1: b"a"})
        known_at = follower.store._complete_at
        await becomes(lambda: follower.store._complete_at > known_at)
        monkeypatch.setattr(store_module, "POLL_S", 3600.0)
        before_s = follower.store.lag_s
        await becomes(lambda: follower.store.lag_s > before_s)


@on_loop
async def test_a_standby_follows_from_one_leader_to_the_next(place: str) -> None:
    """The copy stays valid: no change of a leader in between is missed."""
    async with opened(place) as first, standby(place) as second, standby(place) as third:
        await first.commit({1: (b"a", b""), 2: (b"b", b"")})
        for follower in (second, third):
            await follower.has({1: b"a", 2: b"b"})
        await first.close()
        await becomes(lambda: second.following.done() or third.following.done())
        leader, follower = (second, third) if second.following.done() else (third, second)
        await leader.store.commit({2: None, 3: (b"c", b"")})
        await follower.has({1: b"a", 3: b"c"})
        assert follower.forgotten == 0


@on_loop
async def test_a_standby_that_lost_its_session_begins_again(shared_server: PostgresServer, place: str) -> None:
    """The database may have failed over meanwhile, and have lost commits that the standby knows."""
    async with opened(place) as leader, standby(place) as follower:
        await leader.commit({1: (b"a", b"")})
        await follower.has({1: b"a"})
        shared_server.end_sessions("follow")
        await leader.commit({2: (b"b", b"")})
        await becomes(lambda: follower.forgotten)
        await follower.has({1: b"a", 2: b"b"})


@on_loop
async def test_a_standby_whose_place_in_the_log_was_trimmed_begins_again(
    shared_server: PostgresServer, place: str
) -> None:
    """It was frozen for longer than the leader keeps the log."""
    schema = place.partition("schema=")[2]
    async with opened(place) as leader, standby(place) as follower:
        await leader.commit({1: (b"a", b"")})
        await follower.has({1: b"a"})
        shared_server.sql(f"UPDATE {schema}.distq_changes SET number = -number")
        shared_server.sql(f"DELETE FROM {schema}.distq_rows WHERE key = 1")
        for key in (2, 3):
            await leader.commit({key: (b"b", b"")})
        shared_server.sql(f"DELETE FROM {schema}.distq_changes WHERE number < 4")
        await becomes(lambda: follower.forgotten)
        await follower.has({2: b"b", 3: b"b"})


@on_loop
async def test_the_leader_trims_the_log_of_changes(
    shared_server: PostgresServer, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would grow for ever; the last row stays, from which the numbers go on."""
    monkeypatch.setattr(store_module, "CHANGES_KEPT_S", 0.0)
    schema = place.partition("schema=")[2]
    async with opened(place) as leader:
        for key in range(5):
            await leader.commit({key: (b"h", b"")})
        await leader.health()
        assert shared_server.sql(f"SELECT number FROM {schema}.distq_changes") == [(6,)]
        await leader.commit({9: (b"h", b"")})
    async with opened(place) as leader:
        assert shared_server.sql(f"SELECT number, epoch FROM {schema}.distq_changes ORDER BY number DESC LIMIT 1") == [
            (8, leader.epoch)
        ]


@on_loop
async def test_a_leader_of_a_release_without_a_log_is_not_followed(shared_server: PostgresServer, place: str) -> None:
    """During an upgrade such a leader commits without the log: the standby reads all heads when it leads."""
    schema = place.partition("schema=")[2]
    async with opened(place) as leader, standby(place) as follower:
        await leader.commit({1: (b"a", b""), 2: (b"b", b"")})
        await follower.has({1: b"a", 2: b"b"})
        shared_server.sql(f"UPDATE {schema}.distq_clusters SET epoch = epoch + 1")  # as that release begins an epoch
        shared_server.sql(f"UPDATE {schema}.distq_rows SET head = 'old'")
        await leader.close()
        await follower.leads()
        assert (follower.heads, follower.forgotten) == ({1: b"old", 2: b"old"}, 1)


@on_loop
async def test_a_large_store_and_a_long_log_are_read_in_pages(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the leader changes what was read before, and what will be read."""
    monkeypatch.setattr(following_module, "HEADS_PER_PAGE", 10)
    monkeypatch.setattr(following_module, "CHANGES_PER_PAGE", 3)
    monkeypatch.setattr(following_module, "KEYS_PER_STEP", 4)
    async with opened(place) as leader:
        await leader.commit(dict.fromkeys(range(100), (b"h", b"")))
        async with standby(place) as follower:
            for key in range(0, 100, 3):
                await leader.commit({key: None, key + 1: (b"H", KEEP)} if key < 99 else {key: None})
                await leader.commit({})
            expected = {key: b"H" if key % 3 == 1 else b"h" for key in range(100) if key % 3}
            await follower.has(expected)
            await leader.close()
            await follower.leads()
            assert follower.heads == expected
