"""Standard-library programs without proxies disconnect after every call; programs that keep proxies do not."""

import queue as standard
from typing import Any

import pytest
from tests.master.bench import WAITING, Bench, FakeConnection, on_bench

from distq.master.calls import stdlib_programs as master_programs
from distq.master.calls.stdlib_programs import CALLER_CHARS_MAX, FIRST_HELD_S, HELD_S, PROGRAMS_MAX


class Proxy:
    """A queue's proxy of one thread of a program: the calls that the standard library makes for it."""

    def __init__(self, bench: Bench, typeid: str, caller: str) -> None:
        self.bench = bench
        self.ident = f"{typeid}@{caller}"

    async def made(self) -> "Proxy":
        """Announce the proxy, and give up the reference that `create` has made."""
        for method in ("incref", "decref"):
            assert await self.bench.ask(self.bench.connection(), None, method, self.ident) is None
        return self

    async def dropped(self) -> None:
        """Give the proxy up."""
        assert await self.bench.ask(self.bench.connection(), None, "decref", self.ident) is None

    async def call(self, connection: FakeConnection, method: str, *args: Any, **kwds: Any) -> Any:
        """Call a method on a connection of the thread."""
        return await self.bench.ask(connection, self.ident, method, *args, **kwds)


async def proxy(bench: Bench, typeid: str, caller: str = "1.a.1") -> Proxy:
    """A new proxy."""
    return await Proxy(bench, typeid, caller).made()


async def call_alone(bench: Bench, typeid: str, method: str, *args: Any, caller: str = "1.a.1", **kwds: Any) -> Any:
    """Make one call as `manager.get_work_queue().get()` does, with a proxy and a connection of its own."""
    made = await proxy(bench, typeid, caller)
    connection = bench.connection()
    answer = await made.call(connection, method, *args, **kwds)
    await made.dropped()
    await bench.disconnect(connection)
    return answer


def redelivered(bench: Bench) -> dict[str, int]:
    """Number of redeliveries, by reason."""
    return dict(bench.counters("work", "plain").redeliveries)


@on_bench()
async def test_a_program_without_proxies_works_on_its_item_without_a_connection(bench: Bench) -> None:
    """The program gets five items, and the next result of its thread settles each."""
    for n in range(5):
        assert await call_alone(bench, "work", "put", n) is None
    for n in range(5):
        assert await call_alone(bench, "work", "get") == n
        await bench.advance(20)
        assert bench.counts("work").get("leased") == 1
        assert await call_alone(bench, "result", "put", n * n) is None
    assert bench.counts("work") == {}
    assert redelivered(bench) == {}
    assert isinstance(await call_alone(bench, "work", "get_nowait"), standard.Empty)


@on_bench()
async def test_programs_and_threads_on_one_host_settle_only_their_own_items(bench: Bench) -> None:
    """The address and the process number are equal in two containers; the hash and the thread differ."""
    callers = ("1.a.1", "1.b.1", "1.a.2", "2.a.1")
    for caller in callers:
        await bench.ask(bench.connection(), "work", "put", caller)
    for caller in callers:
        assert await call_alone(bench, "work", "get", caller=caller) == caller
    await call_alone(bench, "result", "put", "done", caller="1.b.1")
    assert bench.counts("work") == {"leased": 3}
    (*held,) = (task.holder for task in bench.ledger.state.tasks.values() if task.holder is not None)
    assert len({id(holder) for holder in held}) == 3
    for caller in callers:
        await call_alone(bench, "work", "task_done", caller=caller)
    assert bench.counts("work") == {}


@on_bench()
async def test_a_size_or_a_put_of_work_settles_no_item(bench: Bench) -> None:
    """A program may ask for sizes and put more work while it has an item."""
    await bench.ask(bench.connection(), "work", "put", "a")
    assert await call_alone(bench, "work", "get") == "a"
    assert await call_alone(bench, "work", "qsize") == 0
    assert await call_alone(bench, "work", "put", "b") is None
    assert bench.counts("work") == {"leased": 1, "ready": 1}
    assert await call_alone(bench, "result", "put", "A") is None
    assert bench.counts("work") == {"ready": 1}


@on_bench()
async def test_the_item_of_a_program_that_does_not_come_back_is_redelivered(bench: Bench) -> None:
    """The first item after half a minute; once the program is known to work without proxies, after an hour."""
    await bench.ask(bench.connection(), "work", "put", "a")
    assert await call_alone(bench, "work", "get") == "a"
    other = bench.connection()
    assert await bench.ask(other, "work", "get") is WAITING
    await bench.advance(FIRST_HELD_S - 1)
    assert other.waits
    await bench.advance(1)
    assert other.answer() == "a"
    await bench.ask(other, "result", "put", "A")

    await bench.ask(bench.connection(), "work", "put", "b")
    assert await call_alone(bench, "work", "get") == "b"
    assert await bench.ask(other, "work", "get") is WAITING
    await bench.advance(HELD_S - 1)
    assert other.waits
    await bench.advance(1)
    assert other.answer() == "b"
    assert redelivered(bench) == {"lease": 2}


@on_bench()
async def test_a_late_result_of_a_program_still_settles_its_item(bench: Bench) -> None:
    """P4: the master gives the item to no other program after that."""
    await bench.ask(bench.connection(), "work", "put", "a")
    assert await call_alone(bench, "work", "get") == "a"
    await bench.advance(FIRST_HELD_S + 100)
    assert bench.counts("work") == {"ready": 1}
    assert await call_alone(bench, "result", "put", "A") is None
    assert bench.counts("work") == {}
    assert bench.counters("work", "plain").late == {"success": 1}


@on_bench(plain_lease_s=10.0)
async def test_a_lease_bounds_a_program_without_a_connection_too(bench: Bench) -> None:
    """DISTQ_PLAIN_LEASE_S limits how long the program holds the item."""
    await bench.ask(bench.connection(), "work", "put", "a")
    await call_alone(bench, "work", "qsize")
    assert await call_alone(bench, "work", "get") == "a"
    await bench.advance(9)
    assert bench.counts("work") == {"leased": 1}
    await bench.advance(1)
    assert bench.counts("work") == {"ready": 1}


@on_bench()
async def test_the_item_of_a_program_killed_with_its_proxies_is_redelivered_immediately(bench: Bench) -> None:
    """The program has one proxy or two, and has given up none."""
    for typeids in (("work",), ("work", "result")):
        made = [await proxy(bench, typeid, caller=f"{len(typeids)}.a.1") for typeid in typeids]
        connection = bench.connection()
        await bench.ask(bench.connection(), "work", "put", "a")
        assert await made[0].call(connection, "get") == "a"
        await bench.disconnect(connection)
        assert await bench.ask(bench.connection(), "work", "get_nowait") == "a"
    assert redelivered(bench) == {"connection": 2}


@on_bench()
async def test_the_item_of_a_program_that_ends_in_order_is_redelivered_immediately(bench: Bench) -> None:
    """The program gives up its proxies at its end: two proxies, or one after its second call."""
    work, result = await proxy(bench, "work", "1.a.1"), await proxy(bench, "result", "1.a.1")
    only = await proxy(bench, "work", "2.a.1")
    for item in "abc":
        await bench.ask(bench.connection(), "work", "put", item)
    connection, other = bench.connection(), bench.connection()
    assert await work.call(connection, "get") == "a"
    for dropped in (result, work):
        await dropped.dropped()
    await bench.disconnect(connection)
    assert bench.counts("work") == {"ready": 3}
    assert [await only.call(other, "get") for _ in range(2)] == ["a", "b"]
    await only.dropped()
    await bench.disconnect(other)
    assert bench.counts("work") == {"ready": 2}
    assert redelivered(bench) == {"connection": 2}


@on_bench()
async def test_the_item_of_a_program_killed_between_its_proxies_is_redelivered_after_a_second(bench: Bench) -> None:
    """Another proxy lives: the program was killed, or a call of another of its threads comes within a second."""
    await proxy(bench, "result", "1.a.7")
    for item in "ab":
        await bench.ask(bench.connection(), "work", "put", item)
    assert await call_alone(bench, "work", "get", caller="1.a.1") == "a"
    assert await call_alone(bench, "work", "get", caller="1.a.2") == "b"
    await bench.advance(0.5)
    assert bench.counts("work") == {"leased": 2}
    await bench.advance(0.6)
    assert bench.counts("work") == {"ready": 1, "leased": 1}, "the second one's proxy was a sign of life for the first"


@on_bench()
async def test_the_master_remembers_a_bounded_number_of_programs(bench: Bench) -> None:
    """The disconnect of a forgotten program ends its items; a program without a `create` call is not remembered."""
    first = await proxy(bench, "work", "0.a.1")
    programs = bench.dispatcher._plain.programs
    for number in range(PROGRAMS_MAX):
        programs.begun(f"{number:x}.b.1")
    programs.begun("x" * CALLER_CHARS_MAX + ".b.1")
    assert len(programs._programs) == PROGRAMS_MAX
    await bench.ask(bench.connection(), "work", "put", "a")
    connection = bench.connection()
    assert await first.call(connection, "get") == "a"
    await first.dropped()
    await bench.disconnect(connection)
    assert bench.counts("work") == {"ready": 1}


@pytest.fixture
def ten_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten threads for each program fill the bound quickly."""
    monkeypatch.setattr(master_programs, "THREADS_MAX", 10)


@pytest.mark.usefixtures("ten_threads")
@on_bench()
async def test_the_master_remembers_a_bounded_number_of_threads(bench: Bench) -> None:
    """A server makes a thread for each request, and is killed with their proxies, or their ends are lost."""
    known = bench.dispatcher._plain.programs
    for number in range(100):
        known.begun(f"busy.a.{number}")
        known.begun(f"idle{number // 10}.a.1")
    assert sum(len(one.threads) for one in known._programs.values()) == known._thread_count == 10
    busy = known._programs["busy.a"]
    assert busy.live == sum(thread.live for thread in busy.threads.values())
    for number in range(100):
        for _ in range(200):
            known.ended(f"busy.a.{number}")
            known.ended(f"idle{number // 10}.a.1")
    assert known._thread_count == 0
    first = await proxy(bench, "work", "late.a.1")
    await bench.ask(bench.connection(), "work", "put", "a")
    connection = bench.connection()
    assert await first.call(connection, "get") == "a"
    for number in range(10):
        known.begun(f"more{number}.a.1")
    await first.dropped()
    await bench.disconnect(connection)
    assert bench.counts("work") == {"ready": 1}, "of one that was forgotten the end of a connection is its end"


@pytest.mark.usefixtures("ten_threads")
@on_bench()
async def test_a_program_whose_last_thread_holds_an_item_is_remembered_while_others_fill_the_bound(
    bench: Bench,
) -> None:
    """The program made the oldest call, and has no other thread."""
    known = bench.dispatcher._plain.programs
    first = await proxy(bench, "work", "late.a.1")
    await bench.ask(bench.connection(), "work", "put", "a")
    connection = bench.connection()
    assert await first.call(connection, "get") == "a"
    await first.dropped()
    for number in range(10):
        known.begun(f"more{number}.a.1")
    await bench.disconnect(connection)
    assert bench.counts("work") == {"leased": 1}
    assert "late.a" in known._programs
    assert sum(len(one.threads) for one in known._programs.values()) == known._thread_count == 10


@on_bench()
async def test_a_clock_that_is_set_changes_nothing_about_how_long_an_item_is_held(bench: Bench) -> None:
    """After a correction of the clock by a day the item is redelivered after half a minute."""
    await bench.ask(bench.connection(), "work", "put", "a")
    assert await call_alone(bench, "work", "get") == "a"
    bench.clock.at += 86400.0
    bench.broker.shift(86400.0)
    await bench.run_until_idle()
    await bench.advance(FIRST_HELD_S - 1)
    assert bench.counts("work") == {"leased": 1}
    await bench.advance(1)
    assert bench.counts("work") == {"ready": 1}
