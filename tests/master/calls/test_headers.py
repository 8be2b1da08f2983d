"""Headers: fields of a task that the master passes on and does not read."""

from typing import Any

import pytest
from tests.master.bench import Bench, failed, on_bench

from distq.core.constraints import HEADERS_BYTES_MAX, HEADERS_MAX
from distq.core.task_ids import id_text
from distq.wire.errors import RemoteRefusal

TRACE = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def constraints_with(*headers: Any) -> tuple[Any, ...]:
    """The constraints of a task that has only headers."""
    return None, None, None, None, "reject", None, headers


async def submit(bench: Bench, connection: Any, number: int, *each: Any) -> Any:
    """Submit one task for each of these constraints."""
    runs = [(0, 1, None, one) if one else (0, 1) for one in each]
    return await bench.ask(connection, "broker", "submit", number, [("q", "f")], runs, [b"x"] * len(runs), 0.0)


@on_bench()
async def test_the_executor_of_each_attempt_and_the_operator_see_the_headers(bench: Bench) -> None:
    """A reply has headers only for the tasks that have some."""
    client, _ = bench.client(), bench.worker()
    executor = bench.executor()
    _, first = await submit(bench, client, 1, constraints_with(TRACE, ("tenant", "acme")), None)
    for _ in range(2):
        reply = await bench.ask(executor, "broker", "exchange", [], 5, 0.0)
        rows = reply[1]
        assert [row[0] for row in rows][:1] == [first]
        assert dict(reply[4]) == {first: (TRACE, ("tenant", "acme"))}
        await bench.exchange(executor, [failed(row) for row in rows], want=0)
        await bench.advance(2.0)
    shown = await bench.admin("show", id=id_text(first))
    assert shown["headers"] == {TRACE[0]: TRACE[1], "tenant": "acme"}


@pytest.mark.parametrize(
    ("headers", "explanation"),
    [
        ([("x", 1)], "texts by their names"),
        ([("", "x")], "texts by their names"),
        ([("x",)], "submit"),
        ([7], "submit"),
        ([("x", "é" * (HEADERS_BYTES_MAX // 2))], "1,024 bytes"),
        ([(f"h{number}", "x") for number in range(HEADERS_MAX + 1)], "at most 16"),
    ],
)
def test_a_submit_with_invalid_headers_is_refused(headers: list[Any], explanation: str) -> None:
    """The error explains which header is invalid."""

    @on_bench()
    async def refused(bench: Bench) -> None:
        answer = await submit(bench, bench.client(), 1, constraints_with(*headers))
        assert isinstance(answer, RemoteRefusal)
        assert explanation in str(answer)

    refused()
