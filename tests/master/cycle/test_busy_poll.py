"""The busy poll between two requests."""

import asyncio
from dataclasses import dataclass

from tests.master.bench import Bench, FakeConnection, on_bench

from distq.master.cycle.busy_poll import BUSY_POLL_S, BusyPoll


@dataclass
class Times:
    """A clock that advances by a step whenever the busy poll yields the processor."""

    step_s: float = BUSY_POLL_S / 10
    now: float = 0.0
    yields: int = 0

    def clock(self) -> float:
        """The present instant."""
        return self.now

    def yield_processor(self) -> None:
        """Advance by a step."""
        self.now += self.step_s
        self.yields += 1


def rest(busy_poll: BusyPoll, times: Times, duration_s: float) -> int:
    """One rest, which a request ends after `duration_s`; returns how often the busy poll yielded meanwhile."""
    before, end_at = times.yields, times.now + duration_s
    asyncio.run(busy_poll.poll(lambda: times.now >= end_at))
    times.now = max(times.now, end_at)
    busy_poll.rest_ended()
    return times.yields - before


def test_the_master_polls_until_the_next_request_after_a_short_rest() -> None:
    """The first short rest makes polling worthwhile; in the second the master polls until the request comes."""
    times = Times()
    busy_poll = BusyPoll(times.clock, times.yield_processor)
    assert rest(busy_poll, times, BUSY_POLL_S / 2) == 0
    assert rest(busy_poll, times, BUSY_POLL_S / 2) == 5


def test_the_master_sleeps_immediately_after_a_poll_without_a_request() -> None:
    """The master polls for BUSY_POLL_S at most, and not again before a rest was short."""
    times = Times()
    busy_poll = BusyPoll(times.clock, times.yield_processor)
    rest(busy_poll, times, BUSY_POLL_S / 2)
    assert 0 < rest(busy_poll, times, 1.0) <= 11
    assert rest(busy_poll, times, 1.0) == 0
    assert rest(busy_poll, times, BUSY_POLL_S / 2) == 0
    assert rest(busy_poll, times, BUSY_POLL_S / 2) == 5


async def answer(connection: FakeConnection) -> object:
    """What the connection's newest call returns, at most 1,000 iterations of the loop later."""
    for _ in range(1000):
        if not connection.waits:
            break
        await asyncio.sleep(0)  # one iteration of the loop, in which the broker runs
    return connection.answer()


@on_bench()
async def test_a_broker_that_polls_answers_requests_and_stops(bench: Bench) -> None:
    """The broker answers a call that comes while it polls, and one that comes while it sleeps."""
    times = Times(step_s=BUSY_POLL_S / 1000)
    bench.broker.busy_poll = BusyPoll(times.clock, times.yield_processor)
    running = asyncio.create_task(bench.broker.run())
    connection = bench.connection()
    for number in range(5):
        bench.call(connection, "work", "put", number)
        assert await answer(connection) is None
    assert times.yields > 0
    times.now += 1.0  # the poll ends, and the broker sleeps
    bench.call(connection, "work", "get")
    assert await answer(connection) == 0
    bench.broker.stop()
    await running
