"""Tests of the supervisor's session with the master, against a fake master."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.net.fake_master import HANG_UP, KEY, FakeMaster, ReceivedCall, fake_master
from tests.waiting import SOON_S

from distq.logs import get_logger
from distq.net.backoff import ReconnectBackoff
from distq.protocol.heartbeat import ExecutorEnd, WorkerReport, write_report
from distq.settings.address import Address
from distq.settings.current_keys import CurrentKeys
from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.worker.shared.clock import MONOTONIC
from distq.worker.supervisor.master_session import EXECUTOR_ENDS_MAX, LEASE_MARGIN_S, MasterSession, WorkerNotAdmitted

DEATH = ExecutorEnd(1, "killed by SIGKILL", "signal", (5, 1))
REPORT = WorkerReport(0, 1, None, None, draining=False)
WRITTEN_DEATH = {"index": 1, "cause": "killed by SIGKILL", "kind": "signal", "running": (5, 1)}


def session_to(port: int, key: bytes = KEY) -> MasterSession:
    """Return a session of a worker that is not busy."""
    return MasterSession(
        (Address("127.0.0.1", port),),
        CurrentKeys("authkeys", (key,)),
        1 << 20,
        ReconnectBackoff(0.01),
        {"role": "worker", "session": "s"},
        lambda: [(1, 5, 1)],
        lambda: REPORT,
        STOPS.append,
        WHERES.append,
        lambda since_s, until_s: RENEWED.append((since_s, until_s)),
        get_logger(),
        MONOTONIC,
    )


STOPS: list[object] = []
"""The tasks that the master asked the sessions of these tests to stop."""
WHERES: list[object] = []
"""The tasks whose stack the master requested."""
RENEWED: list[tuple[float, float]] = []
"""Start and end of the leases' validity, as the sessions have reported them."""


class Greeter:
    """A fake master that answers greetings, and records which heartbeats it has answered."""

    def __init__(self, heartbeat_s: float = 60.0) -> None:
        self.heartbeats: queue.Queue[dict[str, Any]] = queue.Queue()
        self.greeted = 0
        self.deaf = threading.Event()
        """If set, the connection is closed instead of an answer."""
        self._heartbeat_s = heartbeat_s
        self.stops: list[tuple[int, int]] = []
        """The tasks that the next answer asks to stop."""

    def __call__(self, call: ReceivedCall) -> object:
        """Answer a call."""
        _, method, args = call
        if method == "hello":
            self.greeted += 1
            self.deaf.clear()
            return {"heartbeat_s": self._heartbeat_s, "lease_s": 3 * self._heartbeat_s}
        if self.deaf.is_set():
            return HANG_UP
        self.heartbeats.put(args[0])
        stops, self.stops = self.stops, []
        return {"abort": stops}

    async def next_heartbeat(self) -> dict[str, Any]:
        """Return the next heartbeat that it has answered."""
        return await asyncio.to_thread(self.heartbeats.get, timeout=SOON_S)


def talk(greeter: Greeter, test: Callable[[MasterSession, FakeMaster], Awaitable[None]]) -> None:
    """Run a test beside a session with this master."""

    async def run(master: FakeMaster) -> None:
        session = session_to(master.address[1])
        talking = asyncio.create_task(session.run())
        try:
            async with asyncio.timeout(SOON_S):
                await test(session, master)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    with fake_master(greeter) as master:
        asyncio.run(run(master))


def test_a_death_is_reported_immediately() -> None:
    """The session does not wait for the time of the next heartbeat."""
    greeter = Greeter()

    async def test(session: MasterSession, _: FakeMaster) -> None:
        assert (await greeter.next_heartbeat())["exited"] == []
        assert session.connected
        session.exited(DEATH)
        assert (await greeter.next_heartbeat())["exited"] == [WRITTEN_DEATH]
        await session.wait_reported(SOON_S)

    talk(greeter, test)


def test_the_master_sets_the_interval_of_heartbeats() -> None:
    """The master's reply to the greeting contains it."""
    greeter = Greeter(heartbeat_s=0.01)

    async def test(_session: MasterSession, _master: FakeMaster) -> None:
        for _ in range(3):
            assert await greeter.next_heartbeat() == write_report(REPORT)

    talk(greeter, test)


def test_each_reply_renews_the_lease_from_the_time_of_its_request() -> None:
    """Renewals are continuous from the greeting on, and end a quarter of a second early."""
    greeter = Greeter(heartbeat_s=0.05)
    RENEWED.clear()
    started_at = MONOTONIC()

    async def test(_session: MasterSession, _master: FakeMaster) -> None:
        for _ in range(4):
            await greeter.next_heartbeat()

    talk(greeter, test)
    ended = MONOTONIC()
    (first_since, first_until), *later = RENEWED
    assert started_at <= first_since <= ended
    assert first_until == first_since + 0.15 - LEASE_MARGIN_S
    assert {since for since, _ in later} == {first_since}
    untils = [first_until, *(until for _, until in later)]
    assert len(untils) >= 4
    assert untils == sorted(untils)
    assert untils[-1] <= ended + 0.15 - LEASE_MARGIN_S


def test_a_new_session_does_not_renew_leases_of_earlier_requests() -> None:
    """The master may have leased the tasks to other workers meanwhile; the greeting names the running tasks."""
    greeter = Greeter(heartbeat_s=0.05)
    RENEWED.clear()

    async def test(_session: MasterSession, _master: FakeMaster) -> None:
        await greeter.next_heartbeat()
        greeter.deaf.set()
        while greeter.greeted < 2:  # noqa: ASYNC110 - a thread notes that it has come back
            await asyncio.sleep(0.001)
        await greeter.next_heartbeat()

    talk(greeter, test)
    assert len({since for since, _ in RENEWED}) >= 2


def test_an_unanswered_report_of_a_death_is_sent_again() -> None:
    """After a reconnect the task that ran must be blamed, even if the first report has arrived."""
    greeter = Greeter()

    async def test(session: MasterSession, _: FakeMaster) -> None:
        await greeter.next_heartbeat()
        greeter.deaf.set()
        session.exited(DEATH)
        assert (await greeter.next_heartbeat())["exited"] == [WRITTEN_DEATH]
        assert greeter.greeted == 2

    talk(greeter, test)


def test_ends_of_idle_executors_are_kept_up_to_a_limit_while_the_master_is_away() -> None:
    """Executors that cannot start may end thousands of times; the session still reports each end that blames a task."""

    async def run() -> None:
        session = session_to(1)
        for number in range(3 * EXECUTOR_ENDS_MAX):
            session.exited(DEATH._replace(number=number, running=None))
        session.exited(DEATH)
        assert len(session._exited) == EXECUTOR_ENDS_MAX + 1
        assert session._exited[-1] == DEATH

    asyncio.run(run())


def test_a_broken_connection_of_an_idle_session_is_noticed() -> None:
    """Readiness does not wait for the next heartbeat."""
    greeter = Greeter()

    async def test(_session: MasterSession, master: FakeMaster) -> None:
        await greeter.next_heartbeat()
        master.drop()
        await greeter.next_heartbeat()
        assert greeter.greeted == 2

    talk(greeter, test)


def test_a_worker_ends_without_a_farewell_to_an_absent_master() -> None:
    """The leases end by themselves."""

    async def run() -> None:
        session = session_to(1)
        session.exited(DEATH)
        async with asyncio.timeout(SOON_S / 10):
            await session.wait_reported(SOON_S)

    asyncio.run(run())


def test_a_wrong_key_from_the_beginning_ends_the_session() -> None:
    """Another attempt would not help; the exit code is 3."""
    with fake_master(Greeter()) as master, pytest.raises(AuthenticationFailed) as caught:
        asyncio.run(session_to(master.address[1], b"another key of the same kind").run())
    assert caught.value.exit_code == 3


def test_a_refusal_from_the_beginning_ends_the_session_with_the_masters_text() -> None:
    """An example is a master without a common protocol."""

    def refuse(_: ReceivedCall) -> object:
        raise RemoteRefusal("This master speaks protocol 9.")

    with fake_master(refuse) as master, pytest.raises(WorkerNotAdmitted, match="protocol 9") as caught:
        asyncio.run(session_to(master.address[1]).run())
    assert caught.value.exit_code == 3


def test_a_key_that_became_wrong_is_tried_again() -> None:
    """Operators change keys one process at a time; running tasks continue meanwhile."""
    greeter = Greeter()
    keys = [KEY]

    async def run(master: FakeMaster) -> None:
        session = session_to(master.address[1])
        talking = asyncio.create_task(session.run())
        await greeter.next_heartbeat()
        keys[0] = b"the next key of this master"
        master.drop()
        assert (await asyncio.to_thread(master.closed.get, timeout=SOON_S)).authentication_failed
        keys[0] = KEY
        await greeter.next_heartbeat()
        assert not talking.done()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)

    with fake_master(greeter, keys) as master:
        asyncio.run(run(master))


def test_tasks_that_the_master_wants_to_stop_are_passed_on() -> None:
    """The reply to a heartbeat contains them, and the next heartbeat follows immediately."""
    greeter = Greeter()
    greeter.stops = [(7, 1), (8, 2)]
    STOPS.clear()

    async def test(_session: MasterSession, _master: FakeMaster) -> None:
        await greeter.next_heartbeat()
        await greeter.next_heartbeat()
        assert STOPS == [[(7, 1), (8, 2)]]

    talk(greeter, test)
