"""The machine's clock is set while the master runs: calendar times follow the clock, durations do not change."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.master.admin.test_schedules import one, put
from tests.master.bench import LEASE_S, START, WAITING, Bench, on_bench

from distq.core.policy import Rate
from distq.master.cycle.clock import STEP_MIN_S, ClockWatcher, SystemClock
from distq.master.cycle.timer import LoopTimer

STEPS = pytest.mark.parametrize("by_s", [7_200.0, -7_200.0, 1e9, -500_000.0], ids=lambda by_s: f"{by_s:+g}")


async def step(bench: Bench, by_s: float) -> None:
    """Set the machine's clock by this many seconds."""
    bench.clock.at += by_s
    bench._timer_at = None
    bench.broker.shift(by_s)
    bench.dispatcher.schedules.plan_all()
    await bench.run_until_idle()


def on_steps(scene: Callable[..., Any]) -> Callable[..., Any]:
    """Run a test for each of these steps of the clock."""

    def test(by_s: float) -> None:
        @on_bench()
        async def play(bench: Bench) -> None:
            await scene(bench, by_s)

        play()

    test.__doc__, test.__name__ = scene.__doc__, scene.__name__
    return STEPS(test)


@on_steps
async def test_a_lease_lasts_its_duration_when_the_clock_is_set(bench: Bench, by_s: float) -> None:
    """It ends not a second early, so that no task runs twice, and not much later."""
    bench.worker()
    await bench.submit(bench.client(), 1, [b"x"])
    assert await bench.exchange(bench.executor(), want=1)
    await bench.advance(LEASE_S / 2)
    await step(bench, by_s)
    await bench.advance(LEASE_S / 2 - 1)
    assert bench.counts("q") == {"leased": 1}
    await bench.advance(2)
    assert bench.counts("q") == {"ready": 1}


@on_steps
async def test_a_wait_lasts_its_duration_when_the_clock_is_set(bench: Bench, by_s: float) -> None:
    """This holds for executors, clients and standard-library programs."""
    bench.worker()
    executor, client, plain = bench.executor(), bench.client(), bench.connection()
    assert await bench.exchange(executor, wait_s=10) is WAITING
    assert await bench.ask(client, "broker", "results", 0, 10.0) is WAITING
    assert await bench.ask(plain, "work", "get", True, 10.0) is WAITING
    await bench.advance(5)
    await step(bench, by_s)
    await bench.advance(4)
    assert (executor.answer(), client.answer(), plain.answer()) == (WAITING, WAITING, WAITING)
    await bench.advance(2)
    assert WAITING not in (executor.answer(), client.answer(), plain.answer())


@on_steps
async def test_a_rate_counts_its_recent_leases_when_the_clock_is_set(bench: Bench, by_s: float) -> None:
    """The queue neither leases its whole rate again nor stops for hours."""
    bench.worker()
    queue = bench.queue("q")
    bench.ledger.policies.set_policy(queue, queue.own._replace(rate=Rate(2, 60.0)))
    await bench.submit(bench.client(), 1, [b"x"] * 3)
    executor = bench.executor()
    assert len(await bench.exchange(executor, want=3)) == 2
    await bench.advance(29)
    await step(bench, by_s)
    bench.call(bench.worker(), "broker", "heartbeat", {}, 0.0)
    assert await bench.exchange(executor, want=3, wait_s=100) is WAITING
    for _ in range(4):
        await bench.advance(10)
        bench.call(bench.worker(), "broker", "heartbeat", {}, 0.0)
    assert len(bench.rows(executor)) == 1


@on_bench()
async def test_a_task_with_an_eta_follows_the_clock(bench: Bench) -> None:
    """An eta in two hours is due now when the clock is set two hours forward."""
    client = bench.client()
    runs = [(0, 1, (None, START + 7_200.0, None))]
    await bench.ask(client, "broker", "submit", 1, [("q", "f")], runs, [b"x"], 0.0)
    await step(bench, 7_199.0)
    assert bench.counts("q") == {"delayed": 1}
    await bench.advance(1)
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_a_schedule_follows_the_clock(bench: Bench) -> None:
    """After hours forward the missed runs follow its `catch_up`; after days back it does not wait for days."""
    await put(bench, overlap=True)
    await put(bench, "cron", every=None, cron="0 * * * *", overlap=True)
    await step(bench, 7_200.0)
    assert bench.counts("q") == {"ready": 2}
    assert (await one(bench))["skipped"] == 719
    await step(bench, -500_000.0)
    assert (await one(bench))["next_at"] <= bench.clock.at + 10
    assert (await one(bench, "cron"))["next_at"] <= bench.clock.at + 3_600
    await bench.advance(10)
    assert (await one(bench))["runs"] == 2


@on_bench()
async def test_the_session_of_an_absent_client_lasts_an_hour_when_the_clock_is_set(bench: Bench) -> None:
    """The hour is counted from the client's last call."""
    await bench.submit(bench.client(), 1, [b"x"])
    await step(bench, 86_400.0)
    await bench.advance(3_500)
    assert "c" in bench.dispatcher.clients.sessions
    await bench.advance(3_700)
    assert "c" not in bench.dispatcher.clients.sessions


def test_the_masters_clock_follows_each_step_and_durations_stay_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master ignores a difference of less than half a second."""
    wall, even = [1_000.0], [5.0]
    monkeypatch.setattr("distq.master.cycle.clock.time.time", lambda: wall[0])
    monkeypatch.setattr("distq.master.cycle.clock.time.monotonic", lambda: even[0])
    system = SystemClock()
    for by_s, seen in ((STEP_MIN_S / 2, 0.0), (3_600.0, 3_600.0), (-7_200.0, -7_200.0)):
        before = system.now()
        wall[0] = before + by_s
        assert system.differs() == seen
        system.step(seen)
        assert system.now() == before + seen
    assert (system.steps, system.stepped_s) == (3, -3_600.0)
    even[0] += 10
    assert system.now() == 1_000.0 - 3_600.0 + 10


def test_a_step_of_the_clock_is_followed_between_two_cycles_and_logged() -> None:
    """The master sets the loop's timer again, because it was set by the old clock."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """A clock that is an hour slow, a task that is due in half an hour, and then the right time."""
        system = SystemClock()
        bench.broker.clock = system
        alarm = LoopTimer(asyncio.get_running_loop(), system, bench.broker.wake)
        bench.broker.timer = alarm
        watcher = ClockWatcher(system, bench.broker, alarm, bench.dispatcher.schedules.plan_all)
        bench.broker.follow_clock = watcher.follow
        system.step(-3_600.0)
        system.steps = 0
        watcher.follow()
        assert system.steps == 1
        alarm(system.now() + 1_800)
        assert alarm._handle is not None
        cast("Any", system)._base -= 3_600.0
        bench.broker._is_woken = False
        watcher.check()
        assert bench.broker._is_woken
        await bench.cycle()
        assert system.steps == 2
        assert abs(system.differs()) < STEP_MIN_S
        bench.broker._is_woken = False
        watcher.check()
        assert not bench.broker._is_woken
        alarm.reset()

    scene()
