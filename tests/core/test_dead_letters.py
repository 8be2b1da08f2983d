"""Limits of dead letters: the master keeps all, or drops the oldest beyond a maximum age or a maximum number."""

from typing import Any

from tests.master.bench import DEFAULTS, Bench, on_bench

from distq.core.dead_letters import DeadLetterLimits
from distq.core.task_ids import id_text


async def make_dead(bench: Bench, number: int, count: int) -> list[int]:
    """Submit `count` tasks that become dead letters; returns their keys."""
    _, first = await bench.submit(bench.client(), number, [b"a"] * count)
    bench.worker()
    connection = bench.executor()
    for row in await bench.exchange(connection, want=count):
        await bench.exchange(connection, [(row[0], row[1], 3, b"", 0.1, "why")], want=0)
    return list(range(first, first + count))


def dead(bench: Bench) -> list[int]:
    """The keys of the dead letters, oldest first."""
    return list(bench.ledger.state.dead)


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_dead_letters_without_limits_stay(bench: Bench) -> None:
    """Without limits the master drops no dead letter, even after ten days."""
    keys = await make_dead(bench, 1, 5)
    await bench.advance(10 * 86400.0)
    assert dead(bench) == keys
    assert bench.ledger.state.dead_dropped == 0


@on_bench(defaults=DEFAULTS._replace(capacity=100, dead_letters=DeadLetterLimits(ttl_s=100.0)))
async def test_dead_letters_are_dropped_at_their_maximum_age(bench: Bench) -> None:
    """The master also drops the rows of old dead letters; a dead letter that was requeued before stays."""
    old = await make_dead(bench, 1, 3)
    await bench.advance(60.0)
    new = await make_dead(bench, 2, 2)
    cli = bench.connection()
    bench.hello(cli, "cli", "x")
    await bench.ask(cli, "broker", "admin", "dead_retry", {"ids": [id_text(old[0])]})
    await bench.advance(41.0)
    assert dead(bench) == new
    assert not {old[1], old[2]} & bench.store._rows.keys()
    assert bench.counts("q") == {"ready": 1, "dead": 2}
    counters: Any = bench.counters("q", "f")
    assert (counters.dropped, bench.ledger.state.dead_dropped) == (2, 2)
    await bench.advance(60.0)
    assert dead(bench) == []


@on_bench(defaults=DEFAULTS._replace(capacity=100, dead_letters=DeadLetterLimits(count_max=3)))
async def test_the_oldest_dead_letters_beyond_the_maximum_are_dropped(bench: Bench) -> None:
    """The master drops the surplus immediately; the newest dead letters stay without a time limit."""
    first = await make_dead(bench, 1, 3)
    assert dead(bench) == first
    second = await make_dead(bench, 2, 2)
    await bench.advance(0.0)
    assert dead(bench) == [first[2], *second]
    await bench.advance(86400.0)
    assert dead(bench) == [first[2], *second]
    assert bench.ledger.state.dead_dropped == 2


@on_bench(defaults=DEFAULTS._replace(capacity=100, dead_letters=DeadLetterLimits(ttl_s=100.0)))
async def test_a_refused_commit_drops_no_dead_letter(bench: Bench) -> None:
    """The master drops the dead letter when the store accepts a later commit."""
    keys = await make_dead(bench, 1, 2)
    await bench.advance(99.0)
    bench.store.refuse_next = 100
    await bench.advance(1.5)
    assert bench.store.refuse_next < 100
    bench.store.refuse_next = 0
    assert dead(bench) == keys
    await bench.advance(5.0)
    assert dead(bench) == []
    assert bench.ledger.state.dead_dropped == 2
