"""Schedules that code declares: each exists once, over workers, restarts and deploys; the newest worker decides."""

from typing import Any

from tests.master.admin.test_schedules import admin, one, put
from tests.master.bench import DEFAULTS, Bench, on_bench, restarted

from distq.protocol.authority import Authority
from distq.wire.errors import RemoteRefusal


def row(name: str = "m:tick", **more: Any) -> dict[str, Any]:
    """Return a worker's report of one task."""
    options = {"name": name, "body": b"{}", "envelope": ("q", name), "every": 10.0} | more
    return {key: what for key, what in options.items() if what is not None}


async def declare(bench: Bench, *rows: dict[str, Any], age_s: float = 5.0, **more: Any) -> Any:
    """Return the master's reply to an executor that declares these schedules."""
    options: dict[str, Any] = {"schedules": list(rows), "modules": ["m"], "age_s": age_s, **more}
    return await admin(bench, "declare", **options)


@on_bench()
async def test_many_executors_declare_one_schedule(bench: Bench) -> None:
    """Later reports keep its instants and store nothing; a restarted master knows its origin."""
    assert await declare(bench, row()) == {"declared": {"m:tick": ""}, "removed": []}
    first = (await one(bench, "m:tick"))["next_at"]
    bench.store.batches.clear()
    await bench.advance(3)
    for _ in range(5):
        assert await declare(bench, row(), age_s=8.2) == {"declared": {"m:tick": ""}, "removed": []}
    assert bench.store.batches == []
    await bench.advance(7)
    assert bench.counts("q") == {"ready": 1}
    again = await restarted(bench)
    reply = await one(again, "m:tick")
    assert (reply["next_at"], reply["runs"], reply["origin"], reply["declared_by"]) == (first + 10, 1, "code", ["m"])


@on_bench()
async def test_the_declaration_of_the_worker_that_was_started_last_applies(bench: Bench) -> None:
    """New executors of old workers change nothing during a deploy; a paused schedule stays paused."""
    await declare(bench, row())
    await admin(bench, "pause", name="m:tick")
    await bench.advance(100)
    assert (await declare(bench, row(every=30.0), age_s=1.0))["declared"] == {"m:tick": ""}
    reply = await declare(bench, row(), age_s=105.0)
    assert reply["declared"] == {"m:tick": "a worker that was started later declares it"}
    reply = await one(bench, "m:tick")
    assert (reply["every_s"], reply["paused"]) == (30.0, True)
    await bench.advance(10)
    assert (await declare(bench, row(every=30.0), age_s=1.0))["declared"] == {"m:tick": ""}
    assert (await one(bench, "m:tick"))["declared_by"] == ["m"]


@on_bench()
async def test_a_schedule_that_the_code_no_longer_declares_is_removed_on_request(bench: Bench) -> None:
    """Only a newer worker of the same modules removes it."""
    await declare(bench, row(), row("m:tock"))
    await put(bench, "ours")
    await bench.advance(100)
    assert (await declare(bench, row("m:tock"), age_s=1.0))["removed"] == []
    assert (await declare(bench, modules=["other"], remove=True, age_s=1.0))["removed"] == []
    assert (await declare(bench, row("m:tock"), age_s=200.0, remove=True))["removed"] == []
    assert (await declare(bench, row("m:tock"), age_s=1.0, remove=True))["removed"] == ["m:tick"]
    again = await restarted(bench)
    assert set(again.dispatcher.schedules.known) == {"m:tock", "ours"}


@on_bench()
async def test_a_schedule_of_a_client_overrides_a_declared_one(bench: Bench) -> None:
    """Under any name, the same task at the same instants is never submitted twice."""
    await put(bench, "m:tick", every=60.0)
    await put(bench, "mine", envelope=("q", "m:tock"))
    reply = (await declare(bench, row(), row("m:tock"), row("m:tack")))["declared"]
    assert "a client has made a schedule of that name" in reply["m:tick"]
    assert "'mine', which a client has made, submits the same" in reply["m:tock"]
    assert reply["m:tack"] == ""
    await put(bench, "mine too", envelope=("q", "m:tack"))
    assert set(bench.dispatcher.schedules.known) == {"m:tick", "mine", "mine too"}
    assert set((await restarted(bench)).dispatcher.schedules.known) == {"m:tick", "mine", "mine too"}


@on_bench()
async def test_an_invalid_declared_schedule_does_not_keep_out_the_others(bench: Bench) -> None:
    """A worker does not end because of an invalid schedule."""
    reply = (
        await declare(
            bench,
            row("m:zone", every=None, cron="* * * * *", timezone="Mars/Olympus"),
            row("m:unique", more=(None, None, "key", None, "reject")),
            row("m:good"),
        )
    )["declared"]
    assert "no time zone" in reply["m:zone"]
    assert "leave out the unique key" in reply["m:unique"]
    assert reply["m:good"] == ""
    wrongs: list[dict[str, Any]] = [
        {"schedules": 5},
        {"modules": [1]},
        {"age_s": -1},
        {"schedules": [{}]},
        {"schedules": [{"name": 1}]},
    ]
    for wrong in wrongs:
        assert isinstance(await declare(bench, **wrong), RemoteRefusal)


@on_bench(defaults=DEFAULTS._replace(capacity=50))
async def test_a_declaration_that_the_store_refuses_leaves_nothing(bench: Bench) -> None:
    """The next executor declares the schedule again."""
    bench.store.refuse_next = 1
    assert isinstance(await declare(bench, row()), RemoteRefusal)
    assert bench.dispatcher.schedules.known == {}
    assert not bench.dispatcher.schedules.deciding
    assert (await declare(bench, row()))["declared"] == {"m:tick": ""}


@on_bench(defaults=DEFAULTS._replace(schedules_per_key_max=2))
async def test_p7_declared_schedules_count_for_the_key_of_their_worker(bench: Bench) -> None:
    """A worker with a new key, which declares the same schedules, takes them over."""
    old, new = Authority("old", ("work",)), Authority("new", ("work",))
    reply = await declare(bench, row("m:a"), row("m:b"), row("m:c"), authority=old)
    assert [bool(why) for why in reply["declared"].values()] == [False, False, True]
    assert "the key 'old' has 2 schedules (DISTQ_SCHEDULES_PER_KEY_MAX)" in reply["declared"]["m:c"]
    await bench.advance(100)
    reply = await declare(bench, row("m:a"), row("m:b"), authority=new)
    assert set(reply["declared"].values()) == {""}
    again = await restarted(bench)
    assert {(await one(again, name))["key"] for name in ("m:a", "m:b")} == {"new"}
    assert (await declare(again, row("m:c"), authority=old))["declared"] == {"m:c": ""}
    assert "DISTQ_SCHEDULES_PER_KEY_MAX" in (await declare(again, row("m:d"), authority=new))["declared"]["m:d"]
