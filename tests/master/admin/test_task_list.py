"""The list of tasks: matching tasks, oldest first, in pages, while tasks come and go; one slice in each cycle."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, Bench, done, on_bench

from distq.core.task_ids import task_key_of
from distq.master.admin import task_list
from distq.wire.errors import RemoteRefusal


async def listed(bench: Bench, **options: Any) -> Any:
    """Return the master's reply to `distq list`."""
    return await bench.admin("list", **options)


def names(found: Any) -> list[tuple[str, str]]:
    """Return each task's name and state."""
    return [(row["name"], row["state"]) for row in found["tasks"]]


@on_bench()
async def test_tasks_are_listed_by_queue_name_state_and_age(bench: Bench) -> None:
    """Without a state, the list has the waiting and running tasks."""
    client = bench.client()
    envelopes = [("q", "f"), ("q", "g"), ("r", "f")]
    await bench.ask(client, "broker", "submit", 1, envelopes, [(0, 1), (1, 1), (2, 1)], [b"1", b"2", b"3"], 0.0)
    bench.worker(queues=["q"])
    connection = bench.executor()
    rows = await bench.exchange(connection, want=1)
    assert names(await listed(bench)) == [("f", "leased"), ("g", "ready"), ("f", "ready")]
    assert names(await listed(bench, states=["waiting"], name="f")) == [("f", "ready")]
    found = await listed(bench, queue="q", states=["running"])
    assert [(row["holder"], row["queue"]) for row in found["tasks"]] == [("w/1", "q")]
    await bench.exchange(connection, [done(rows[0])], want=0)
    assert names(await listed(bench, states=["ended"])) == [("f", "succeeded")]
    submitted_at = (await listed(bench))["tasks"][0]["submitted_at"]
    assert names(await listed(bench, before_at=submitted_at)) == []
    assert len(names(await listed(bench, before_at=submitted_at + 1))) == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_have_every_task_once_while_others_come_and_go(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of slices and pieces do not matter."""
    monkeypatch.setattr(task_list, "SLICE", size)
    monkeypatch.setattr(task_list, "PIECE", 2 * size + 1)

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Every third of twenty tasks is removed meanwhile."""
        client = bench.client()
        for number in range(1, 6):
            await bench.submit(client, number, [b"x"] * 4, queue=f"q{number}")
        first = await listed(bench, limit=3)
        assert first["next"] == first["tasks"][-1]["id"]
        for key in list(bench.ledger.state.tasks)[::3]:
            await bench.ask(client, "broker", "cancel", [key], False)
        await bench.submit(client, 6, [b"y"] * 5, queue="last")
        left = [key for key, task in bench.ledger.state.tasks.items() if task.state == 0]
        found: list[int] = []
        after = first["next"]
        while after:
            page = await listed(bench, limit=4, after=after)
            found += [task_key_of(row["id"]) for row in page["tasks"]]
            after = page["next"]
        assert found == [key for key in left if key > task_key_of(first["next"])]

    scene()


@pytest.mark.parametrize(("piece", "first"), [(7, 6), (20, 30)])
def test_a_cursor_reads_each_remaining_task_once_while_others_end(
    piece: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor reads each remaining task once, however many tasks before its position are removed."""
    monkeypatch.setattr(task_list, "PIECE", piece)

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Every second of thirty tasks is removed if it is among the first ones."""
        client = bench.client()
        for number in range(1, 6):
            await bench.submit(client, number, [b"x"] * 6, queue=f"q{number}")
        tasks = bench.ledger.state.tasks
        keys, read = task_list.TaskKeyCursor(bench.ledger, -1), []
        stay = list(tasks)[1::2]
        while not keys.is_over:
            found = keys.slice()
            read += found
            for key in [one for one in list(tasks)[:first] if found and one not in stay]:
                del tasks[key]
        assert len(stay) == 15
        assert [key for key in read if key in stay] == stay
        assert len(read) == len(set(read))

    scene()


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": 10**9},
        {"limit": True},
        {"states": ["asleep"]},
        {"states": [[]]},
        {"queue": "nothing"},
        {"queue": 5},
        {"after": "x"},
        {"before_at": "now"},
        {"examined_max": 0},
        {"examined_max": "all"},
    ],
)
def test_an_invalid_list_request_is_refused(options: dict[str, Any]) -> None:
    """A peer of another version may send such a request."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one invalid request."""
        assert isinstance(await listed(bench, **options), RemoteRefusal)

    scene()


def test_a_search_examines_a_bounded_number_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply says where to continue, though nothing was found, and how much is left."""
    monkeypatch.setattr(task_list, "SLICE", 5)

    @on_bench(defaults=DEFAULTS._replace(capacity=100))
    async def scene(bench: Bench) -> None:
        """The only task that matches is the last one of 31."""
        await bench.submit(bench.client(), 1, [b"x"] * 30, queue="q1")
        await bench.ask(bench.client("other"), "broker", "submit", 1, [("q2", "rare")], [(0, 1)], [b"y"], 0.0)
        after: str | None = None
        pages: list[tuple[int, int, int]] = []
        while not pages or after:
            page = await listed(bench, name="rare", examined_max=10, after=after)
            pages.append((len(page["tasks"]), page["examined"], page["task_count"]))
            after = page["next"]
        assert pages == [(0, 10, 31), (0, 10, 31), (0, 10, 31), (1, 1, 31)]
        assert "examined" not in await listed(bench, name="rare")

    scene()


@pytest.mark.parametrize("kinds_max", [task_list.KINDS_EXAMINED_MAX, 0])
def test_a_name_without_tasks_is_found_absent_without_examining_them(
    kinds_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The envelopes of all tasks say it at once, unless there are too many different ones."""
    monkeypatch.setattr(task_list, "KINDS_EXAMINED_MAX", kinds_max)
    monkeypatch.setattr(task_list, "SLICE", 1)

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Count the cycles of a search."""
        await bench.submit(bench.client(), 1, [b"x"] * 6)
        before = bench.broker.cycles
        assert await listed(bench, name="none", queue="q") == {"tasks": [], "next": None}
        assert (bench.broker.cycles - before > 6) is (kinds_max == 0)

    scene()
