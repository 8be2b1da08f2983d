"""Schedules: each instant is used once, over restarts and refused commits, by the clocks of a time zone."""

import json
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.master.bench import DEFAULTS, START, Bench, failed, on_bench, restarted

from distq.core.deadlines import CLEARED_MIN
from distq.core.registry import Defaults
from distq.core.schedule import (
    BadSchedule,
    ScheduleOrigin,
    ScheduleProgress,
    ScheduleSpec,
    Timing,
    pack_schedule,
    unpack_schedule,
)
from distq.core.task_ids import task_key_of
from distq.master.admin.schedule_instants import due_at, next_instant_after
from distq.master.admin.schedules import RunSchedule, Schedule
from distq.protocol.authority import OPERATOR, Authority
from distq.wire.errors import RemoteRefusal

ROME = ZoneInfo("Europe/Rome")


async def admin(bench: Bench, action: str, authority: Authority = OPERATOR, **options: Any) -> Any:
    """Return the master's reply to an operator."""
    return await bench.admin(f"schedule_{action}", authority, **options)


async def put(bench: Bench, name: str = "tick", **constraints: Any) -> Any:
    """Make a schedule of a task "f" on the queue "q", every ten seconds by default."""
    options = {"name": name, "body": b"x", "envelope": ("q", "f"), **({"every": 10.0} | constraints)}
    return await admin(bench, "put", **{key: what for key, what in options.items() if what is not None})


async def one(bench: Bench, name: str = "tick") -> dict[str, Any]:
    """Return the master's description of a schedule."""
    reply = await admin(bench, "list")
    (found,) = (row for row in reply["schedules"] if row["name"] == name)
    return dict(found)


@on_bench()
async def test_every_ten_seconds_a_task_is_submitted(bench: Bench) -> None:
    """The schedule submits a task at each instant, and none between."""
    assert (await put(bench))["schedules"][0]["next_at"] == START + 10
    await bench.advance(9.9)
    assert bench.counts("q") == {}
    await bench.advance(0.1)
    assert bench.counts("q") == {"ready": 1}
    assert await bench.run_all() == 1
    await bench.advance(10)
    reply = await one(bench)
    assert (reply["runs"], reply["next_at"], reply["under_way"]) == (2, START + 30, True)
    assert bench.ledger.state.tasks[task_key_of(reply["last_id"])].envelope.name == "f"


@on_bench()
async def test_a_schedule_has_one_live_task_unless_its_tasks_may_overlap(bench: Bench) -> None:
    """The schedule skips and counts an instant at which its last task still runs."""
    await put(bench, "alone")
    await put(bench, "together", overlap=True)
    await bench.advance(30)
    assert bench.counts("q") == {"ready": 4}
    assert [(row["runs"], row["skipped"]) for row in (await admin(bench, "list"))["schedules"]] == [(1, 2), (3, 0)]


@on_bench()
async def test_p1_a_schedule_outlives_a_restart_and_uses_no_instant_twice(bench: Bench) -> None:
    """The master still knows the task that the schedule submitted last."""
    await put(bench)
    await bench.advance(10)
    again = await restarted(bench)
    assert again.counts("q") == {"ready": 1}
    reply = await one(again)
    assert (reply["runs"], reply["next_at"], reply["under_way"]) == (1, START + 20, True)
    await again.advance(10)
    assert again.counts("q") == {"ready": 1}
    assert await again.run_all() == 1
    await again.advance(10)
    assert again.counts("q") == {"ready": 1, "succeeded": 1}


@pytest.mark.parametrize(("catch_up", "tasks", "skipped"), [("one", 1, 4), ("all", 5, 0), ("none", 0, 5)])
def test_missed_instants_are_made_up_for_as_catch_up_says(catch_up: str, tasks: int, skipped: int) -> None:
    """The schedule submits one task for all missed instants, one for each, or none."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """The master is stopped from before five instants until long after the last one."""
        await put(bench, catch_up=catch_up, overlap=True)
        bench.clock.at += 59
        again = await restarted(bench)
        await again.advance(0)
        assert sum(again.counts("q").values()) == tasks
        reply = await one(again)
        assert (reply["runs"], reply["skipped"], reply["next_at"]) == (tasks, skipped, START + 60)

    scene()


@on_bench()
async def test_all_missed_runs_are_made_up_for_one_after_the_other(bench: Bench) -> None:
    """This holds if the schedule's tasks may not overlap."""
    await put(bench, catch_up="all")
    bench.clock.at += 30
    again = await restarted(bench)
    for _ in range(3):
        await again.advance(1)
        assert again.counts("q")["ready"] == 1
        assert await again.run_all() == 1
    assert again.counts("q") == {"succeeded": 3}


@on_bench()
async def test_an_instant_whose_commit_was_refused_is_repeated(bench: Bench) -> None:
    """The task of that instant exists once."""
    await put(bench)
    bench.store.refuse_next = 3
    await bench.advance(14)
    assert bench.counts("q") == {"ready": 1}
    assert (await one(bench))["runs"] == 1


@on_bench(defaults=Defaults(capacity=1))
async def test_an_instant_without_capacity_in_the_queue_is_not_lost(bench: Bench) -> None:
    """The schedule submits as soon as the queue has room."""
    await bench.submit(bench.client(), 1, [b"a"])
    await put(bench)
    await bench.advance(15)
    assert (await one(bench))["runs"] == 0
    assert await bench.run_all() == 1
    await bench.advance(1)
    assert bench.counts("q") == {"succeeded": 1, "ready": 1}
    assert (await one(bench))["next_at"] == START + 20


@on_bench()
async def test_a_schedule_can_be_paused_resumed_run_and_removed(bench: Bench) -> None:
    """Instants in a pause are not made up for; a manual run counts as the schedule's last task."""
    await put(bench)
    await admin(bench, "pause", name="tick")
    await bench.advance(25)
    assert bench.counts("q") == {}
    assert (await restarted(bench)).dispatcher.schedules.states == {"active": 0, "paused": 1, "faulty": 0}
    assert (await admin(bench, "resume", name="tick"))["schedules"][0]["next_at"] == START + 30
    reply = await admin(bench, "run", name="tick")
    assert bench.counts("q") == {"ready": 1}
    assert "has not ended yet" in str(await admin(bench, "run", name="tick"))
    await bench.advance(10)
    assert bench.counts("q") == {"ready": 1}
    assert (await one(bench))["last_id"] == reply["schedules"][0]["last_id"]
    assert str(await admin(bench, "run", name="tic")) == (
        "there is no schedule 'tic'; did you mean 'tick'? `distq schedule list` shows all schedules."
    )
    await admin(bench, "remove", name="tick")
    await bench.advance(100)
    assert bench.counts("q") == {"ready": 1}
    assert "there is no schedule 'tick'" in str(await admin(bench, "pause", name="tick"))
    assert (await restarted(bench)).dispatcher.schedules.known == {}


@on_bench()
async def test_an_equal_schedule_goes_on_and_a_different_one_replaces_it(bench: Bench) -> None:
    """A program may put its schedule again at each start."""
    await put(bench)
    await bench.advance(7)
    assert (await put(bench))["schedules"][0]["next_at"] == START + 10
    assert (await put(bench, every=5.0))["schedules"][0]["next_at"] == START + 12
    await bench.advance(5)
    assert bench.counts("q") == {"ready": 1}
    await put(bench, every=6.0)
    await bench.advance(6)
    assert bench.counts("q") == {"ready": 1}, "the task of the previous run is still live"


@on_bench()
async def test_a_scheduled_task_fails_and_is_tried_again_as_any_other(bench: Bench) -> None:
    """While it waits for its next attempt, it counts as not ended."""
    await put(bench)
    await bench.advance(10)
    bench.worker()
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row)], want=0)
    assert (await one(bench))["under_way"]


@on_bench()
async def test_a_schedule_of_a_task_with_labels_and_keys_is_the_same_after_a_restart(bench: Bench) -> None:
    """The schedule goes on unchanged when a client puts it again."""
    options: dict[str, Any] = {
        "envelope": ("q", "f", None, None, None, None, None, ("gpu",)),
        "when": (None, None, 60.0),
        "more": ("joe", 2, None, None, "reject"),
    }
    await put(bench, **options)
    await bench.advance(5)
    again = await restarted(bench)
    assert (await put(again, **options))["schedules"][0]["next_at"] == START + 10
    await again.advance(5)
    (task,) = again.ledger.state.tasks.values()
    assert (task.envelope.requires, task.constraints.concurrency_key) == (frozenset({"gpu"}), "joe")


@on_bench(defaults=Defaults(capacity=1))
async def test_an_instant_that_waits_for_capacity_is_requested_once_over_refused_commits(bench: Bench) -> None:
    """The master's list of due requests does not grow."""
    client = bench.client()
    await bench.submit(client, 1, [b"a"])
    await put(bench)
    await bench.advance(10)
    for number in range(2, 8):
        bench.store.refuse_next = 1
        bench.clock.at += 1
        bench.call(client, "broker", "submit", number, [("r", "f")], [(0, 1)], [b"b"], 0.0)
        await bench.cycle()
    due = [request for _, _, request in bench.broker.instants._heap if isinstance(request, RunSchedule)]
    assert len(due) == 1


@on_bench()
async def test_p7_replaced_and_removed_schedules_leave_no_due_requests(bench: Bench) -> None:
    """Deployments put a New Year schedule again for a year; its next instant is still used once."""
    yearly = {"every": None, "cron": "0 0 1 1 *"}
    for number in range(1_000):
        await put(bench, "new year", **yearly, body=b"%d" % number)
        await put(bench, "once", **yearly)
        await admin(bench, "remove", name="once")
        assert len(bench.broker.instants) <= 2 * CLEARED_MIN
    await put(bench)
    due = [request.schedule.spec.name for request in bench.broker.instants.things() if isinstance(request, RunSchedule)]
    assert {"new year", "tick"} <= set(due)
    reply = await one(bench, "new year")
    bench.clock.at = reply["next_at"] - 1
    await bench.advance(2)
    assert (await one(bench, "new year"))["runs"] == 1


@pytest.mark.parametrize("name", [["tick"], {"a": 1}, 7, None])
@pytest.mark.parametrize("action", ["put", "pause", "run", "remove", "list"])
def test_a_name_that_is_no_text_is_refused_and_the_master_goes_on(action: str, name: Any) -> None:
    """A peer with the key may send any value."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one request."""
        options: dict[str, Any] = {"body": b"x", "envelope": ("q", "f"), "every": 10.0} if action == "put" else {}
        assert isinstance(await admin(bench, action, name=name, **options), RemoteRefusal)
        assert (await put(bench))["schedules"]

    scene()


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "n" * 129},
        {"every": None},
        {"cron": "* * * * *"},
        {"every": 0.01},
        {"every": None, "cron": "61 * * * *"},
        {"every": None, "cron": "0 0 30 2 *"},
        {"every": None, "cron": 5},
        {"every": None, "cron": "0 5 1 * * 0"},
        {"every": None, "cron": "9" * 5_000 + " * * * *"},
        {"every": 10**5_000},
        {"name": "\ud800"},
        {"name": "a\x1b[31mb"},
        {"name": "two\nlines"},
        {"name": "night\u2028ly"},
        {"name": "nightly "},
        {"when": (None, 1e15, None)},
        {"when": (None, None, 10**400)},
        {"every": None, "cron": "* * * * *", "timezone": "Mars/Olympus"},
        {"every": None, "cron": "* * * * *", "timezone": "../etc/passwd"},
        {"catch_up": "perhaps"},
        {"body": "text"},
        {"body": b"x" * (DEFAULTS.payload_bytes_max + 1)},
        {"envelope": ("q",)},
        {"envelope": 7},
        {"more": (None, None, "unique", None, "reject")},
    ],
)
def test_an_invalid_schedule_is_refused(options: dict[str, Any]) -> None:
    """The master makes no schedule of an invalid request."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one invalid schedule."""
        assert isinstance(await put(bench, **options), RemoteRefusal)
        assert bench.dispatcher.schedules.known == {}

    scene()


def at(*instant: int, fold: int = 0) -> float:
    """Return an instant by the clocks of Rome."""
    return datetime(*instant, tzinfo=ROME, fold=fold).timestamp()  # type: ignore[arg-type, misc] # year to minute


def cron(expression: str, catch_up: str = "one") -> Timing:
    """Return the timing of a cron line by the clocks of Rome."""
    return Timing(None, expression, "Europe/Rome", False, catch_up)


def test_a_run_in_the_skipped_hour_comes_right_after_it() -> None:
    """On 29 March 2026 the clocks change from 2:00 to 3:00."""
    daily = cron("30 2 * * *")
    assert next_instant_after(daily, at(2026, 3, 28, 12, 0)) == at(2026, 3, 29, 3, 0)
    assert next_instant_after(daily, at(2026, 3, 29, 3, 0)) == at(2026, 3, 30, 2, 30)
    half_hourly = cron("*/30 * * * *")
    assert next_instant_after(half_hourly, at(2026, 3, 29, 1, 30)) == at(2026, 3, 29, 3, 0)


def test_a_daily_run_in_the_repeated_hour_comes_once_and_a_frequent_one_goes_on() -> None:
    """On 25 October 2026 the clocks change from 3:00 to 2:00."""
    daily = cron("30 2 * * *")
    first = next_instant_after(daily, at(2026, 10, 24, 12, 0))
    assert first == at(2026, 10, 25, 2, 30)
    assert next_instant_after(daily, first) == at(2026, 10, 26, 2, 30)
    instants, instant = [], at(2026, 10, 25, 1, 50)
    for _ in range(4):
        instant = next_instant_after(cron("*/30 * * * *"), instant)
        instants.append(instant - at(2026, 10, 25, 2, 0))
    assert instants == [0, 1800, 3600, 5400]


def test_an_interval_takes_no_notice_of_clocks() -> None:
    """A day of an interval has 24 hours."""
    assert next_instant_after(Timing(86400.0, None, "UTC", False, "one"), 5.0) == 86405.0


def test_years_of_missed_instants_are_counted_to_a_thousand() -> None:
    """A count of all missed instants would delay other requests."""
    due = due_at(cron("* * * * *"), START, START + 10 * 365 * 86400.0)
    assert due.missed == 1000
    assert due.next_at > START + 10 * 365 * 86400.0


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> dict[str, tzinfo]:
    """Return the zones of the master's machine, which a test may remove or give other rules."""
    there: dict[str, tzinfo] = {"Test/City": timezone(timedelta(hours=-8))}

    def zone_of(name: object) -> tzinfo:
        if name not in there:
            raise BadSchedule(f"there is no time zone {name!r} on the master's machine.")
        return there[str(name)]

    for module in ("schedule_instants", "calendars"):
        monkeypatch.setattr(f"distq.master.admin.{module}.zone_of", zone_of)
    return there


def test_a_schedule_whose_time_zone_is_missing_shows_a_fault_and_can_be_removed(zones: dict[str, tzinfo]) -> None:
    """The master starts and serves all else; the schedule goes on when the zone exists again."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Restart the master on a machine without the zone, then on one with it."""
        await put(bench, every=None, cron="* * * * *", timezone="Test/City")
        await put(bench, "sound")
        known = zones.pop("Test/City")
        again = await restarted(bench)
        await again.advance(120)
        reply = await one(again)
        assert (reply["runs"], reply["next_at"]) == (0, None)
        assert "no time zone 'Test/City'" in reply["fault"]
        assert (await one(again, "sound"))["runs"] == 1
        assert again.dispatcher.schedules.states == {"active": 1, "paused": 0, "faulty": 1}
        assert "no time zone" in str(await admin(again, "resume", name="tick"))
        zones["Test/City"] = known
        sound = await restarted(again)
        await sound.advance(0)
        assert (await one(sound))["runs"] == 1
        del zones["Test/City"]
        last = await restarted(sound)
        await admin(last, "remove", name="tick")
        assert set(last.dispatcher.schedules.known) == {"sound"}

    scene()


def test_a_zone_that_goes_while_the_master_runs_makes_a_fault_and_not_an_end(zones: dict[str, tzinfo]) -> None:
    """The master tries the schedule again every hour."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Update the machine's zones without the zone, then with it."""
        again = await restarted(bench)
        await put(again, every=None, cron="0 * * * *", timezone="Test/City", overlap=True)
        known = zones.pop("Test/City")
        await again.advance(2 * 3600)
        assert "no time zone" in (await one(again))["fault"]
        zones["Test/City"] = known
        await again.advance(2 * 3600)
        reply = await one(again)
        assert (reply["fault"], reply["under_way"]) == ("", True)

    scene()


def test_the_rules_of_a_zone_that_have_changed_hold_after_a_restart_every_hour_and_when_it_is_put_again(
    zones: dict[str, tzinfo],
) -> None:
    """The master does not use an instant that it computed with the previous rules."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Change the clocks of a city by an hour, three times."""
        options: dict[str, Any] = {"every": None, "cron": "0 9 1 * *", "timezone": "Test/City"}
        reply = (await put(bench, **options))["schedules"][0]
        assert reply["next_at"] / 3600 % 24 == 17
        zones["Test/City"] = timezone(timedelta(hours=-7))
        assert (await put(bench, **options))["schedules"][0]["next_at"] / 3600 % 24 == 16
        zones["Test/City"] = timezone(timedelta(hours=-6))
        again = await restarted(bench)
        assert (await one(again))["next_at"] / 3600 % 24 == 15
        zones["Test/City"] = timezone(timedelta(hours=-5))
        await again.advance(3700)
        assert (await one(again))["next_at"] / 3600 % 24 == 14

    scene()


@on_bench()
async def test_a_schedule_with_a_control_character_in_its_name_stays_usable(bench: Bench) -> None:
    """An earlier release has made it: its program can put it again with another interval, and it can be removed."""
    name = "old\x07"
    await put(bench)
    known = bench.dispatcher.schedules.known["tick"]
    row = pack_schedule(known.spec._replace(name=name), known.progress), known.body
    bench.dispatcher.schedules.known.clear()
    bench.dispatcher.schedules.restore({known.row_key: row[0]}, {known.row_key: row[1]})
    assert (await put(bench, name, every=20.0))["schedules"][0]["every_s"] == 20
    await admin(bench, "remove", name=name)
    assert bench.dispatcher.schedules.known == {}
    assert str(await put(bench, name)) == (
        "a schedule's name has no line break or control character, and no space at an end; not 'old\\x07'."
    )


@on_bench()
async def test_a_row_that_cannot_be_read_is_a_faulty_schedule_that_can_be_removed(bench: Bench) -> None:
    """A later distq may have written the row; a schedule whose task is out of range today is faulty too."""
    await put(bench, "later")
    await put(bench, "wide")
    rows = {one.spec.name: one for one in bench.dispatcher.schedules.known.values()}
    wide = rows["wide"].spec._replace(envelope=("q", "f", 5, 3, 1e12))
    bench.dispatcher.schedules.known.clear()
    bench.dispatcher.schedules.restore(
        {rows["later"].row_key: b"{}", rows["wide"].row_key: pack_schedule(wide, rows["wide"].progress)}, {}
    )
    reply = {row["name"]: row["fault"] for row in (await admin(bench, "list"))["schedules"]}
    (unread,) = reply.keys() - {"wide"}
    assert "cannot be read" in reply[unread]
    assert "time_limit is a duration above 0 s" in reply["wide"]
    assert "time_limit" in str(await admin(bench, "run", name="wide"))
    for name in reply:
        await admin(bench, "remove", name=name)
    assert bench.dispatcher.schedules.known == {}
    await bench.advance(100)
    assert bench.counts("q") == {}


@on_bench(defaults=DEFAULTS._replace(schedules_max=4, schedules_per_queue_max=2))
async def test_p7_one_queue_leaves_room_for_the_schedules_of_others(bench: Bench) -> None:
    """The master refuses a further schedule with a sentence and counts it; a known one can still be changed."""
    met = bench.ledger.registry.limits_met
    for number in range(2):
        await put(bench, f"q {number}")
    refusal = await put(bench, "q 2")
    assert isinstance(refusal, RemoteRefusal)
    assert "the queue 'q' has 2 schedules (DISTQ_SCHEDULES_PER_QUEUE_MAX)" in str(refusal)
    assert not isinstance(await put(bench, "q 1", every=20.0), RemoteRefusal)
    for number in range(2):
        assert not isinstance(await put(bench, f"other {number}", envelope=("other", "f")), RemoteRefusal)
    refusal = await put(bench, "third", envelope=("third", "f"))
    assert isinstance(refusal, RemoteRefusal)
    assert "the master has 4 schedules (DISTQ_SCHEDULES_MAX)" in str(refusal)
    assert (met["schedules_per_queue_max"], met["schedules_max"]) == (1, 1)


@on_bench(defaults=DEFAULTS._replace(schedules_per_key_max=2))
async def test_p7_one_key_leaves_room_for_the_schedules_of_others(bench: Bench) -> None:
    """A restarted master knows whose they are; a key that changes another key's schedule makes it its own."""
    ann, bob = Authority("ann", ("admin",)), Authority("bob", ("admin",))
    for number in range(2):
        await put(bench, f"ann {number}", authority=ann)
    refusal = await put(bench, "ann 2", authority=ann)
    assert isinstance(refusal, RemoteRefusal)
    assert "the key 'ann' has 2 schedules (DISTQ_SCHEDULES_PER_KEY_MAX); remove one first" in str(refusal)
    assert bench.ledger.registry.limits_met["schedules_per_key_max"] == 1
    assert not isinstance(await put(bench, "ann 1", authority=ann, every=20.0), RemoteRefusal)
    assert not isinstance(await put(bench, "bob", authority=bob), RemoteRefusal)
    assert isinstance(await put(bench, "bob", authority=ann, every=20.0), RemoteRefusal)
    assert (await one(bench, "bob"))["key"] == "bob"
    again = await restarted(bench)
    assert isinstance(await put(again, "ann 2", authority=ann), RemoteRefusal)
    assert not isinstance(await put(again, "ann 0", authority=bob, every=20.0), RemoteRefusal)
    assert not isinstance(await put(again, "ann 2", authority=ann), RemoteRefusal)
    assert isinstance(await put(again, "bob 2", authority=bob), RemoteRefusal)
    await admin(again, "remove", name="bob")
    assert not isinstance(await put(again, "bob 2", authority=bob), RemoteRefusal)


def test_a_schedule_of_the_operators_key_is_stored_as_earlier_releases_stored_it() -> None:
    """Its row names no key; the row of another key names it, and is read with an origin and without one."""
    spec, progress = (
        ScheduleSpec("s", Timing(1.0, None, "UTC", False, "one"), ("q", "f"), None, None),
        ScheduleProgress(1.0),
    )
    assert json.loads(Schedule(-1, spec, progress, b"", None).row(progress)[0]) == json.loads(
        json.dumps([spec, progress])
    )
    for origin in (None, ScheduleOrigin(("m",), 2.0)):
        assert unpack_schedule(pack_schedule(spec, progress, origin)) == (spec, progress, origin, "")
        assert unpack_schedule(pack_schedule(spec, progress, origin, "ann")) == (spec, progress, origin, "ann")
