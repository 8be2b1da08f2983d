"""P7: what a master keeps is bounded, and what is beyond the bounds is refused in words, never dropped."""

import pytest
from tests.master.bench import RULES, Bench, done, on_bench

from distq.core import names
from distq.core.task import LATER, SUCCEEDED
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


@on_bench(rules=RULES._replace(payload_bytes_max=5 << 20))
async def test_large_payloads_go_a_few_at_a_time_and_the_others_stay_in_line(bench: Bench) -> None:
    """However many an executor asks for: a reply must fit a frame."""
    bench.worker()
    executor = bench.executor()
    bodies = [bytes([number]) * (3 << 20) for number in range(5)]
    await bench.submit(bench.client(), 1, bodies)
    first = await bench.exchange(executor, want=5)
    assert [row[4] for row in first] == bodies[:2]
    assert bench.counts("q") == {"ready": 3, "leased": 2}
    second = await bench.exchange(executor, [done(row) for row in first], want=5)
    assert [row[4] for row in second] == bodies[2:4]
    (last,) = await bench.exchange(executor, [done(row) for row in second], want=5)
    assert last[4] == bodies[4]
    await bench.exchange(executor, [done(last)], want=0)
    assert bench.counts("q") == {"succeeded": 5}


@on_bench(rules=RULES._replace(payload_bytes_max=5 << 20))
async def test_large_payloads_that_only_the_store_has_are_read_a_few_at_a_time(bench: Bench) -> None:
    """Whoever else waits is given those that did not fit."""
    bench.worker()
    bench.ledger.window_bytes = 0
    bodies = [bytes([number]) * (3 << 20) for number in range(5)]
    await bench.submit(bench.client(), 1, bodies)
    one, two = bench.executor(1), bench.executor(2)
    bench.call(one, "broker", "exchange", [], 5, 60.0)
    bench.call(two, "broker", "exchange", [], 5, 60.0)
    await bench.settle_down()
    await bench.settle_down()
    given = [*bench.rows(one), *bench.rows(two)]
    assert sorted(row[4] for row in given) == bodies[:4]
    assert bench.counts("q") == {"ready": 1, "leased": 4}


@on_bench(rules=RULES._replace(payload_bytes_max=5 << 20))
async def test_a_client_that_asks_about_large_results_is_told_which_to_ask_again_about(bench: Bench) -> None:
    """A reply must fit a frame there too."""
    bench.worker()
    executor = bench.executor()
    client = bench.client("gone")
    _, first = await bench.submit(client, 1, [b"x"] * 4)
    rows = await bench.exchange(executor, want=4)
    large = b"r" * (3 << 18)
    await bench.exchange(executor, [(row[0], row[1], 0, large, 0.1, "") for row in rows], want=0)
    other = bench.client("other")
    told = await bench.ask(other, "broker", "watch", list(range(first, first + 4)))
    assert [(key, state) for key, state, *_ in told] == [
        (first, SUCCEEDED),
        (first + 1, SUCCEEDED),
        (first + 2, LATER),
        (first + 3, LATER),
    ]
    told = await bench.ask(other, "broker", "watch", [first + 2, first + 3])
    assert [body for *_, body, _ in told] == [large, large]
