"""Large payloads and results in the master's replies: beside the pickle for peers that read split frames."""

import pickle

import pytest
from tests.master.bench import DEFAULTS, Bench, FakeConnection, on_bench

from distq.core.outcome import Outcome
from distq.wire.framing import SplitFrame

ROOMY = DEFAULTS._replace(payload_bytes_max=1 << 20, capacity=2_000)
LARGE = pickle.dumps("a large body" * 10_000)


def was_split(connection: FakeConnection) -> bool:
    """Whether the last reply was a split frame."""
    return isinstance(connection.replies[-1], SplitFrame)


@pytest.mark.parametrize("reads_split", [False, True])
def test_a_large_body_goes_to_each_peer_as_it_can_read_it(reads_split: bool) -> None:
    """Executors and clients of the release before do not say that they read split frames, and get one pickle."""

    @on_bench(defaults=ROOMY)
    async def run(bench: Bench) -> None:
        client, executor = bench.connection("client"), bench.connection("executor")
        bench.hello(client, "client", "c", split=reads_split)
        bench.worker()
        bench.hello(executor, "executor", "w", index=1, holds=[], split=reads_split)
        assert (await bench.submit(client, 1, [LARGE, b"small"]))[0] is True
        rows = await bench.exchange(executor, want=2)
        assert [row[4] for row in rows] == [LARGE, b"small"]
        assert was_split(executor) is reads_split
        settled = [(key, delivery, Outcome.SUCCESS, LARGE, 0.0, "") for key, delivery, *_ in rows]
        await bench.exchange(executor, settled, want=0)
        _, ends = await bench.ask(client, "broker", "results", 0, 0.0)
        assert [body for _, _, body, _ in ends] == [LARGE, LARGE]
        assert was_split(client) is reads_split

    run()


@on_bench(defaults=ROOMY)
async def test_small_bodies_are_never_split(bench: Bench) -> None:
    """Their copy costs less than a buffer of their own."""
    client, executor = bench.connection("client"), bench.connection("executor")
    bench.hello(client, "client", "c", split=True)
    bench.worker()
    bench.hello(executor, "executor", "w", index=1, holds=[], split=True)
    await bench.submit(client, 1, [b"small"] * 1_000)
    rows = await bench.exchange(executor, want=1_000)
    assert len(rows) == 1_000
    assert not was_split(executor)
