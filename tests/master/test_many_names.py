"""Names, keys and queues that a client makes up cost bounded memory, and none after their tasks have gone."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, Bench, on_bench

from distq.core.counters import COUNTED_MAX, OTHERS_MAX
from distq.protocol.submit import When, write_constraints, write_when

MADE = 9_000
"""Just below the limit of queues, 10,000."""
BYTES_MAX = 12_000
"""Maximum bytes of memory for a task whose name, queue or key no other task has."""
ROOMY = DEFAULTS._replace(capacity=100_000, result_ttl_s=10.0)


def envelope_of(number: int, what: str) -> tuple[str, str]:
    """Return a queue and a name, one of them with a number of its own."""
    return (f"queue {number}" if what == "queues" else "q", f"name {number}" if what == "names" else "f")


KINDS: dict[str, Callable[[int], tuple[Any, ...] | None]] = {
    "names": lambda _: None,
    "queues": lambda _: None,
    "concurrency keys": lambda number: write_constraints(f"key {number}"),
    "unique keys": lambda number: write_constraints(unique_key=f"key {number}"),
}


@pytest.mark.parametrize("what", KINDS)
def test_p7_nine_thousand_made_up_words_cost_bounded_memory(what: str) -> None:
    """They cost a bounded number of bytes each while their tasks wait, and the master forgets them with the results."""

    @on_bench(defaults=ROOMY)
    async def scene(bench: Bench) -> None:
        client, expiring = bench.client(), write_when(When(expires_s=5.0))
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for first in range(0, MADE, 300):
            numbers = range(first, first + 300)
            entries = [(index, 1, expiring, KINDS[what](number)) for index, number in enumerate(numbers)]
            envelopes = [envelope_of(number, what) for number in numbers]
            answer = await bench.ask(
                client, "broker", "submit", first + 1, envelopes, entries, [b"x"] * len(numbers), 0.0
            )
            assert answer[0] is True
        gc.collect()
        cost = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert cost < MADE * BYTES_MAX, cost
        registry = bench.ledger.registry
        assert len(registry.counters) <= COUNTED_MAX + OTHERS_MAX + 1
        await bench.advance(6.0)
        await bench.advance(ROOMY.result_ttl_s + 1)
        await bench.advance(2 * 3600)
        assert not bench.ledger.state.tasks
        assert len(registry.queues) <= 3
        assert len(registry.counters) <= 3

    scene()
