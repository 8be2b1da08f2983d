"""Staying awake between two requests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.master.bench import Bench, FakeLine, on_bench

from distq.master.cycle.busy_poll import AWAKE_S, BusyPoll


@dataclass
class Times:
    """A clock that goes on by a step whenever the vigil gives way."""

    step_s: float = AWAKE_S / 10
    now: float = 0.0
    gave_way: int = 0
    at: list[Callable[[], None]] = field(default_factory=list)

    def clock(self) -> float:
        """The present moment."""
        return self.now

    def give_way(self) -> None:
        """A turn of somebody else."""
        self.now += self.step_s
        self.gave_way += 1


def rest(vigil: BusyPoll, times: Times, until_s: float) -> int:
    """One rest, ended by a request after so long; returns how often the vigil gave way meanwhile."""
    before, end = times.gave_way, times.now + until_s
    asyncio.run(vigil.keep(lambda: times.now >= end))
    times.now = max(times.now, end)
    vigil.over()
    return times.gave_way - before


def test_who_is_asked_closely_looks_about_until_the_next_request() -> None:
    """The first short wait tells; from then on it is awake when the request comes."""
    times = Times()
    vigil = BusyPoll(times.clock, times.give_way)
    assert rest(vigil, times, AWAKE_S / 2) == 0
    assert rest(vigil, times, AWAKE_S / 2) == 5


def test_who_looked_about_in_vain_sleeps_at_once_the_next_time() -> None:
    """It is awake for a moment only, and not again before requests come closely."""
    times = Times()
    vigil = BusyPoll(times.clock, times.give_way)
    rest(vigil, times, AWAKE_S / 2)
    assert rest(vigil, times, 1.0) <= 11
    assert rest(vigil, times, 1.0) == 0
    assert rest(vigil, times, AWAKE_S / 2) == 0
    assert rest(vigil, times, AWAKE_S / 2) == 5


async def answer(line: FakeLine) -> object:
    """What the line's call returns, some turns of the loop later."""
    for _ in range(1000):
        if not line.waits:
            break
        await asyncio.sleep(0)  # a turn of the loop, in which the broker runs
    return line.heard()


@on_bench()
async def test_a_broker_that_looks_about_hears_a_request_and_its_end(bench: Bench) -> None:
    """What comes while it is awake is answered as ever, and so is what comes while it sleeps."""
    times = Times(step_s=AWAKE_S / 1000)
    bench.broker.busy_poll = BusyPoll(times.clock, times.give_way)
    running = asyncio.create_task(bench.broker.run())
    line = bench.line()
    for number in range(5):
        bench.call(line, "work", "put", number)
        assert await answer(line) is None
    assert times.gave_way > 0
    times.now += 1.0  # it sleeps
    bench.call(line, "work", "get")
    assert await answer(line) == 0
    bench.broker.stop()
    await running
