"""The tests that every store must pass, as a class: a subclass of it opens one kind of store."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

import pytest

from distq.core.ports import KEEP, Batch, CommitRefused, Fenced, Store, StoreError, StoreLimits

SMALL = StoreLimits(body_bytes_max=100, batch_bytes_max=600, batch_changes_max=10)
"""Small limits; the bytes of a batch are those of its heads and bodies."""
KEY_MAX = (1 << 63) - 1
KEYS = (1 << 40, (1 << 40) + 1, (5 << 40) + 7, KEY_MAX, -1, -KEY_MAX)
"""Keys of tasks of several epochs, the largest key, and negative keys, which hold settings."""

Rows = dict[int, bytes]
Scene = Callable[["Opener"], Coroutine[None, None, None]]
Opener = Callable[..., Awaitable[Store]]


async def follow(store: Store, address: str = "127.0.0.1:9000") -> Rows:
    """Follow until the store leads, and return the heads that it has then."""
    heads: Rows = {}
    async for run in store.follow(address):
        for key, head in run:
            if head is None:
                heads.pop(key, None)
            else:
                heads[key] = head
    return heads


async def contents(store: Store, keys: tuple[int, ...]) -> dict[int, bytes | None]:
    """Return the bodies of `keys`, by key."""
    return dict(zip(keys, await store.read(keys), strict=True))


class StoreContract(ABC):
    """The tests of every store; a store that is not durable or not shared sets that attribute to False."""

    durable: ClassVar[bool] = True
    """Whether a store that is opened again has the rows that were committed."""
    shared: ClassVar[bool] = True
    """Whether another process can take over the leadership, which fences the older leader."""

    @abstractmethod
    async def make(self, place: str) -> Store:
        """Return a store at `place`, a name that is new for each test; the same name opens the same store again."""

    @asynccontextmanager
    async def stores(self) -> AsyncIterator[Opener]:
        """Yield a function that opens stores, which follow until they lead by default; close all of them in the end."""
        async with AsyncExitStack() as stack:

            async def opener(*, lead: bool = True, limits: StoreLimits | None = None) -> Store:
                store = await self.make("place")
                stack.push_async_callback(store.close)
                if limits is not None:
                    store.limits = limits
                if lead:
                    await follow(store)
                return store

            yield opener

    def play(self, scene: Scene) -> None:
        """Run one scene on its own event loop; it fails after a minute."""

        async def run() -> None:
            async with asyncio.timeout(60), self.stores() as opener:
                await scene(opener)

        asyncio.run(run())

    # -- commit and read -----------------------------------------------------------------------

    def test_a_read_stops_where_no_more_fits(self) -> None:
        """The read returns at least one body, however large; a key that is not stored takes no bytes."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit(dict.fromkeys(KEYS, (b"head", b"x" * 100)))
            one, two, three = b"x" * 100, [b"x" * 100] * 2, [b"x" * 100] * 3
            assert await store.read(KEYS[:4], 99) == [one]
            assert await store.read(KEYS[:4], 200) == two
            assert await store.read([12345, *KEYS[:4]], 299) == [None, *two]
            assert await store.read(KEYS[:3], 300) == three
            assert await store.read([], 1) == []

        self.play(scene)

    def test_a_read_sees_every_commit_before_it(self) -> None:
        """Bodies come in the order of the keys, None for a key that is not stored; an empty body is a body."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit({key: (b"head", b"body %d" % key) for key in KEYS})
            await store.commit({KEYS[0]: (b"head", b"")})
            requested = [KEYS[2], 12345, KEYS[0], KEYS[3], KEYS[2]]
            two, three = b"body %d" % KEYS[2], b"body %d" % KEYS[3]
            assert await store.read(requested) == [two, None, b"", three, two]
            assert await store.read([]) == []

        self.play(scene)

    def test_the_value_keep_amends_the_head_and_leaves_the_body(self) -> None:
        """A retry writes 260 bytes, and does not write the payload again."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit({1: (b"first", b"payload"), 2: (b"other", b"bytes")})
            await store.commit({1: (b"second", KEEP)})
            await store.commit({1: (b"third", KEEP), 2: (b"new", b"body")})
            assert await store.read([1, 2]) == [b"payload", b"body"]
            await self.check_heads(store, opener, {1: b"third", 2: b"new"})

        self.play(scene)

    def test_the_value_none_drops_a_row_and_a_missing_row_is_no_error(self) -> None:
        """Rows are states, not steps: the same batch again gives the same rows."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit({1: (b"h", b"one"), 2: (b"h", b"two")})
            batch: Batch = {1: None, 2: (b"g", b"three"), 3: None}
            for _ in range(2):
                await store.commit(batch)
                assert await store.read([1, 2, 3]) == [None, b"three", None]
            await self.check_heads(store, opener, {2: b"g"})

        self.play(scene)

    def test_an_empty_batch_is_a_barrier(self) -> None:
        """A leader may commit it at any time, and it changes nothing."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit({})
            await store.commit({1: (b"h", b"b")})
            await store.commit({})
            assert await store.read([1]) == [b"b"]

        self.play(scene)

    def test_the_store_does_not_depend_on_the_callers_batch_after_the_commit(self) -> None:
        """The store keeps the bytes, not the caller's dict."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            batch: dict[int, tuple[bytes, bytes] | None] = {1: (b"h", b"b")}
            await store.commit(batch)
            batch.clear()
            assert await store.read([1]) == [b"b"]

        self.play(scene)

    # -- refusals ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param({9: (b"h", b"x" * 101)}, id="a body over the limit"),
            pytest.param(dict.fromkeys(range(10, 16), (b"h", b"x" * 100)), id="a batch of too many bytes"),
            pytest.param(dict.fromkeys(range(10, 20), (b"h", b"")), id="a batch of too many changes"),
            pytest.param({9: (b"h", KEEP)}, id="a body to keep that is not there"),
        ],
    )
    def test_a_refused_batch_is_not_there_at_all_and_the_store_works_on(self, bad: Batch) -> None:
        """A batch is stored completely or not at all: the changes before the fault are not stored either."""

        async def scene(opener: Opener) -> None:
            store = await opener(limits=SMALL)
            await store.commit({1: (b"h", b"one"), 2: (b"h", b"two")})
            with pytest.raises(CommitRefused):
                await store.commit({1: None, 2: (b"changed", b"changed"), 3: (b"new", b"new"), **bad})
            assert await store.read([1, 2, 3, 9]) == [b"one", b"two", None, None]
            await store.commit({3: (b"h", b"three")})
            await self.check_heads(store, opener, {1: b"h", 2: b"h", 3: b"h"})

        self.play(scene)

    def test_a_batch_at_the_limits_is_accepted(self) -> None:
        """The broker cuts its batches to exactly these limits."""

        async def scene(opener: Opener) -> None:
            store = await opener(limits=SMALL)
            await store.commit(dict.fromkeys(range(1, 11), (b"h" * 10, b"x" * 50)))
            await store.commit({11: (b"h", b"x" * 100)})
            assert await store.read([10, 11]) == [b"x" * 50, b"x" * 100]

        self.play(scene)

    def test_a_store_accepts_no_commit_before_it_leads(self) -> None:
        """The store refuses a commit before `follow` has ended, and leadership begins without its rows."""

        async def scene(opener: Opener) -> None:
            store = await opener(lead=False)
            assert store.epoch == 0
            with pytest.raises(StoreError):
                await store.commit({1: (b"h", b"b")})
            assert await follow(store) == {}
            assert await store.read([1]) == [None]

        self.play(scene)

    # -- leadership ----------------------------------------------------------------------------

    def test_the_leader_is_known_and_keeps_its_leadership(self) -> None:
        """The epoch is positive, the leader's address is the given one, and `lost` waits."""

        async def scene(opener: Opener) -> None:
            store = await opener(lead=False)
            await follow(store, "10.0.0.1:9000")
            assert (store.epoch > 0, store.leader) == (True, "10.0.0.1:9000")
            lost = asyncio.ensure_future(store.lost())
            await store.commit({1: (b"h", b"b")})
            assert not lost.done()
            lost.cancel()
            assert await asyncio.gather(lost, return_exceptions=True)

        self.play(scene)

    def test_p1_a_reopened_store_has_the_committed_rows_and_a_larger_epoch(self) -> None:
        """Keys of two leaders are never equal. A store that is not durable starts empty, with a new epoch too."""

        async def scene(opener: Opener) -> None:
            first = await opener()
            await first.commit({key: (b"head %d" % key, b"body %d" % key) for key in KEYS})
            await first.commit({KEYS[0]: None, KEYS[1]: (b"amended", KEEP)})
            await first.close()
            second = await opener(lead=False)
            heads = await follow(second)
            assert second.epoch > first.epoch
            stored = KEYS[1:] if self.durable else ()
            assert heads == {key: b"amended" if key == KEYS[1] else b"head %d" % key for key in stored}
            bodies = await contents(second, KEYS)
            assert bodies == {key: b"body %d" % key if key in stored else None for key in KEYS}

        self.play(scene)

    def test_an_older_leader_is_fenced(self) -> None:
        """After another process leads, the first one commits nothing and learns why; only shared stores are tested."""

        async def scene(opener: Opener) -> None:
            first = await opener()
            await first.commit({1: (b"h", b"first")})
            second = await opener()
            if not self.shared:
                await first.commit({1: (b"h", b"still")})
                assert await first.read([1]) == [b"still"]
                return
            assert second.epoch > first.epoch
            with pytest.raises(Fenced):
                await first.commit({1: (b"h", b"late")})
            assert await first.lost()
            assert await second.read([1]) == [b"first"]

        self.play(scene)

    # -- health and end ------------------------------------------------------------------------

    def test_the_health_of_a_store_has_its_kind_and_role(self) -> None:
        """The answer has at least kind and role, as plain values."""

        async def scene(opener: Opener) -> None:
            health = await (await opener()).health()
            assert health["role"] == "leader"
            assert isinstance(health["kind"], str)

        self.play(scene)

    def test_a_closed_store_takes_nothing_and_closes_again(self) -> None:
        """The second close does nothing; a commit after it is an error, not a silent loss."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.close()
            await store.close()
            with pytest.raises(StoreError):
                await store.commit({1: (b"h", b"b")})

        self.play(scene)

    async def check_heads(self, store: Store, opener: Opener, expected: Rows) -> None:
        """Assert the stored heads: follow again, after a close if the store is durable."""
        if self.durable:
            await store.close()
            store = await opener(lead=False)
        assert await follow(store) == expected
