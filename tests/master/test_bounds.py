"""P7: what a master keeps is bounded, and what is beyond the bounds is refused in words, never dropped."""

import pytest
from tests.master.bench import RULES, Bench, done, on_bench

from distq.core import names
from distq.wire.errors import RemoteRefusal

TTL_S = 10.0


@on_bench(rules=RULES._replace(tasks_max=3, capacity=100, result_ttl_s=TTL_S))
async def test_p7_room_for_a_result_is_reserved_with_its_task(bench: Bench) -> None:
    """Results that are kept leave less room for tasks; none is dropped before its time, and then there is room."""
    client, _, line = bench.client(), bench.worker(), bench.executor()
    assert (await bench.submit(client, 1, [b"a", b"b"]))[0] is True
    rows = await bench.exchange(line, want=2)
    await bench.exchange(line, [done(row) for row in rows], want=0)
    assert bench.counts("q") == {"succeeded": 2}
    accepted, code, sentence = await bench.submit(client, 2, [b"c", b"d"])
    assert (accepted, code) == (False, "TASKS_FULL")
    assert "DISTQ_TASKS_MAX" in sentence
    assert bench.tally("q", "f").rejected == {"kept": 1}
    assert (await bench.submit(client, 3, [b"c"]))[0] is True
    assert isinstance(await bench.ask(bench.line(), "work", "put", 1), RemoteRefusal)
    assert bench.counts("q") == {"succeeded": 2, "ready": 1}
    await bench.advance(TTL_S + 1)
    assert bench.counts("q") == {"ready": 1}
    assert (await bench.submit(client, 4, [b"d", b"e"]))[0] is True


@on_bench(rules=RULES._replace(tasks_max=1, capacity=100))
async def test_p7_the_value_of_a_plain_item_takes_its_items_place(bench: Bench) -> None:
    """A master that is full to the brim still takes what was run."""
    plain, _, line = bench.line(), bench.worker(), bench.executor()
    assert await bench.ask(plain, "work", "put", 1) is None
    (row,) = await bench.exchange(line)
    assert await bench.exchange(line, [done(row, 1)], want=0) == []
    assert await bench.ask(plain, "result", "get") == 1


@pytest.mark.parametrize("bound", ["QUEUES_MAX", "ENVELOPES_MAX"])
def test_p7_names_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever puts a task's number into its name is told; names that are known go on."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        client = bench.client()
        assert (await bench.submit(client, 1, [b"a"]))[0] is True
        monkeypatch.setattr(names, bound, len(bench.ledger.names.queues) if bound == "QUEUES_MAX" else 1)
        refused = await bench.submit(client, 2, [b"a"], queue="one more")
        assert isinstance(refused, RemoteRefusal)
        assert "arguments" in str(refused)
        assert (await bench.submit(client, 3, [b"a"]))[0] is True
        assert bench.counts("q") == {"ready": 2}
        assert "one more" not in bench.ledger.names.queues

    scene()
