"""The pages of `distq top`: sorted, filtered, cut to the rows asked for, in slices, with totals."""

from typing import Any

import pytest
from tests.master.bench import Bench, failed, on_bench

from distq.master.admin import live_page
from distq.wire.errors import RemoteRefusal


async def live(bench: Bench, **options: Any) -> Any:
    """Return the master's page."""
    return await bench.admin("live", **options)


def names(found: Any) -> list[str]:
    """Return the names of a page's rows."""
    return [row["name"] for row in found["rows"]]


@pytest.mark.parametrize("per_cycle", [1, 3, 500])
def test_queues_are_sorted_filtered_and_cut(per_cycle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of slices do not matter; equal counts are sorted by name."""
    monkeypatch.setattr(live_page, "QUEUES_PER_CYCLE", per_cycle)

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Six queues have one to six tasks."""
        client = bench.client()
        for number in range(1, 7):
            await bench.submit(client, number, [b"x"] * number, queue=f"q{number}")
        found = await live(bench, limit=2)
        assert names(found) == ["q6", "q5"]
        assert found["rows"][0]["ready"] == found["rows"][0]["submitted"] == 6
        assert (found["total"], found["matched"]) == (8, 8)  # with the two plain queues
        assert (found["totals"]["ready"], found["totals"]["submitted"], found["totals"]["queues"]) == (21, 21, 8)
        assert names(await live(bench, limit=2, offset=2)) == ["q4", "q3"]
        assert names(await live(bench, sort="name", filter="Q")) == [f"q{number}" for number in range(1, 7)]
        assert names(await live(bench, filter="q4")) == ["q4"]
        assert names(await live(bench, offset=100)) == []

    scene()


@on_bench()
async def test_workers_running_tasks_and_failures_have_pages(bench: Bench) -> None:
    """A failed task is on the page of failures, with its cause; a running one has the name of its executor."""
    client = bench.client()
    envelopes = [("q", "f", None, 0)]
    await bench.ask(client, "broker", "submit", 1, envelopes, [(0, 2)], [b"1", b"2"], 0.0)
    bench.worker(queues=["q"])
    line = bench.executor()
    first = await bench.exchange(line, want=1)
    found = await live(bench, view="running")
    assert [(row["name"], row["holder"], row["progress"]) for row in found["rows"]] == [("f", "w/1", None)]
    assert (found["totals"]["leased"], found["totals"]["workers"]) == (1, 1)
    assert (await live(bench, view="running", filter="other"))["rows"] == []
    assert names(await live(bench, view="workers")) == ["w"]
    await bench.exchange(line, [failed(first[0])], want=0)
    found = await live(bench, view="failures")
    assert [(row["name"], row["causes"]) for row in found["rows"]] == [("f", ["ValueError: no"])]
    assert found["totals"]["failed"] == found["totals"]["dead"] == 1
    assert len((await live(bench, view="failures", filter="valueerror"))["rows"]) == 1


@on_bench()
async def test_a_page_that_does_not_exist_is_refused(bench: Bench) -> None:
    """The sentence has what there is."""
    for options, error in (
        ({"view": "clients"}, "view is one of queues, workers, running, failures"),
        ({"sort": "age"}, "sort of queues is one of ready"),
        ({"limit": 501}, "limit is a whole number from 0 to 500"),
        ({"offset": -1}, "offset is a whole number from 0 to 10,000"),
    ):
        refused = await live(bench, **options)
        assert isinstance(refused, RemoteRefusal)
        assert error in str(refused)
