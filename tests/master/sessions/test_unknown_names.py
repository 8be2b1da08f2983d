"""The master offers a released name to a worker again, after growing pauses, a few names at a time."""

from hypothesis import given
from hypothesis import strategies as st
from tests.master.bench import WAITING, Bench, on_bench

from distq.core.outcome import Outcome
from distq.master.sessions.unknown_names import CHECK_S, NAME_RETRY_MAX_S, NAME_RETRY_S, NAMES_PER_CHECK, UnknownNames


def test_pauses_double_up_to_a_bound() -> None:
    """A name that the worker never learns costs almost nothing."""
    names, now, pauses = UnknownNames(), 0.0, []
    for _ in range(12):
        assert names.add_unknown("shop:add", "no module", now) is True
        assert names.add_unknown("shop:add", "no module", now) is False
        handed_at = now
        while "shop:add" in names:
            now += CHECK_S
            names.try_again(now)
        pauses.append(now - handed_at)
    assert pauses[:4] == [NAME_RETRY_S, 2 * NAME_RETRY_S, 4 * NAME_RETRY_S, 8 * NAME_RETRY_S]
    assert pauses[-1] == NAME_RETRY_MAX_S


@given(st.integers(0, 400))
def test_a_few_unknown_names_are_offered_again_together(count: int) -> None:
    """All of many names are tried again in the end, and none after the worker has gone."""
    names = UnknownNames()
    for at in range(count):
        names.add_unknown(f"old:job{at}", "no module", 0.0)
    left = count
    while names.try_again(NAME_RETRY_S):
        assert len(names) == max(left - NAMES_PER_CHECK, 0)
        left = len(names)
    assert not names
    names.add_unknown("one", "no module", 0.0)
    names.end()
    assert (names.try_again(1e9), names.has_waiting, len(names)) == ([], False, 0)


@on_bench()
async def test_a_worker_that_released_a_name_is_offered_it_again(bench: Bench) -> None:
    """The master offers it although nothing else has happened meanwhile."""
    client = bench.client()
    await bench.submit(client, 1, [b"a"])
    bench.worker()
    connection = bench.executor()
    (row,) = await bench.exchange(connection, want=1)
    handed_back = (row[0], row[1], Outcome.UNKNOWN, None, 0.0, "no such module")
    assert await bench.exchange(connection, [handed_back], want=1, wait_s=60.0) is WAITING
    await bench.advance(NAME_RETRY_S / 2)
    assert bench.rows(connection) is WAITING
    await bench.advance(NAME_RETRY_S)
    assert [again[0] for again in bench.rows(connection)] == [row[0]]
