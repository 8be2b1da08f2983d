"""Tests of the supervisor's session with the master, against a fake master."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.net.fake_master import HANG_UP, KEY, Asked, FakeMaster, fake_master
from tests.waiting import SOON_S

from distq.logs import get_logger
from distq.net.address import Address
from distq.net.backoff import ReconnectBackoff
from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.worker.shared.clock import MONOTONIC
from distq.worker.supervisor.master_session import EXECUTOR_ENDS_MAX, LEASE_MARGIN_S, MasterSession, WorkerNotAdmitted

DEATH = {"index": 1, "cause": "killed by SIGKILL", "kind": "signal", "running": (5, 1)}


def link_to(port: int, key: bytes = KEY) -> MasterSession:
    """A session of a worker that is not busy."""
    return MasterSession(
        (Address("127.0.0.1", port),),
        key,
        1 << 20,
        ReconnectBackoff(0.01),
        {"role": "worker", "session": "s"},
        lambda: [(1, 5, 1)],
        lambda: {"busy": 0},
        STOPS.append,
        WHERES.append,
        lambda since_s, until_s: RENEWED.append((since_s, until_s)),
        get_logger(),
        MONOTONIC,
    )


STOPS: list[object] = []
"""The tasks that the master asked the sessions of these tests to stop."""
WHERES: list[object] = []
"""Of what they were asked where it is."""
RENEWED: list[tuple[float, float]] = []
"""From when and until when the leases hold, as the sessions have reported it."""


class Hearing:
    """A master that greets, and notes which heartbeats it has answered."""

    def __init__(self, heartbeat_s: float = 60.0) -> None:
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self.greeted = 0
        self.deaf = threading.Event()
        """Set: the connection is closed instead of an answer."""
        self._heartbeat_s = heartbeat_s
        self.stops: list[tuple[int, int]] = []
        """The tasks that the next answer asks to stop."""

    def __call__(self, asked: Asked) -> object:
        """Answer a call."""
        _, method, args = asked
        if method == "hello":
            self.greeted += 1
            self.deaf.clear()
            return {"heartbeat_s": self._heartbeat_s, "lease_s": 3 * self._heartbeat_s}
        if self.deaf.is_set():
            return HANG_UP
        self.heard.put(args[0])
        stops, self.stops = self.stops, []
        return {"abort": stops}

    async def hears(self) -> dict[str, Any]:
        """The next heartbeat that it has answered."""
        return await asyncio.to_thread(self.heard.get, timeout=SOON_S)


def talk(hearing: Hearing, test: Callable[[MasterSession, FakeMaster], Awaitable[None]]) -> None:
    """Run a test beside a session with this master."""

    async def run(master: FakeMaster) -> None:
        link = link_to(master.address[1])
        talking = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(SOON_S):
                await test(link, master)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    with fake_master(hearing) as master:
        asyncio.run(run(master))


def test_a_death_is_told_at_once() -> None:
    """It does not wait for the next heartbeat's time."""
    hearing = Hearing()

    async def test(link: MasterSession, _: FakeMaster) -> None:
        assert (await hearing.hears())["exited"] == []
        assert link.connected
        link.exited(DEATH)
        assert (await hearing.hears())["exited"] == [DEATH]
        await link.farewell(SOON_S)

    talk(hearing, test)


def test_heartbeats_come_as_often_as_the_master_wants() -> None:
    """It says so in its greeting."""
    hearing = Hearing(heartbeat_s=0.01)

    async def test(_link: MasterSession, _master: FakeMaster) -> None:
        for _ in range(3):
            assert await hearing.hears() == {"busy": 0, "exited": []}

    talk(hearing, test)


def test_each_answer_renews_the_lease_from_when_the_question_was_sent() -> None:
    """Since the greeting without a break; a quarter of a second early, for what has to end by then."""
    hearing = Hearing(heartbeat_s=0.05)
    RENEWED.clear()
    began = MONOTONIC()

    async def test(_link: MasterSession, _master: FakeMaster) -> None:
        for _ in range(4):
            await hearing.hears()

    talk(hearing, test)
    ended = MONOTONIC()
    (first_since, first_until), *later = RENEWED
    assert began <= first_since <= ended
    assert first_until == first_since + 0.15 - LEASE_MARGIN_S
    assert {since for since, _ in later} == {first_since}
    untils = [first_until, *(until for _, until in later)]
    assert len(untils) >= 4
    assert untils == sorted(untils)
    assert untils[-1] <= ended + 0.15 - LEASE_MARGIN_S


def test_a_new_conversation_vouches_for_nothing_that_was_asked_before() -> None:
    """The master may have leased it to other workers meanwhile; the greeting names the running tasks."""
    hearing = Hearing(heartbeat_s=0.05)
    RENEWED.clear()

    async def test(_link: MasterSession, _master: FakeMaster) -> None:
        await hearing.hears()
        hearing.deaf.set()
        while hearing.greeted < 2:  # noqa: ASYNC110 - a thread notes that it has come back
            await asyncio.sleep(0.001)
        await hearing.hears()

    talk(hearing, test)
    assert len({since for since, _ in RENEWED}) >= 2


def test_a_death_that_was_not_heard_is_told_again() -> None:
    """After reconnecting: the task that ran must be blamed, whatever became of the first telling."""
    hearing = Hearing()

    async def test(link: MasterSession, _: FakeMaster) -> None:
        await hearing.hears()
        hearing.deaf.set()
        link.exited(DEATH)
        assert (await hearing.hears())["exited"] == [DEATH]
        assert hearing.greeted == 2

    talk(hearing, test)


def test_ends_of_idle_executors_are_kept_up_to_a_number_while_the_master_is_away() -> None:
    """Executors that cannot start may end thousands of times; the session still reports each end that blames a task."""

    async def run() -> None:
        link = link_to(1)
        for number in range(3 * EXECUTOR_ENDS_MAX):
            link.exited({**DEATH, "index": number, "running": None})
        link.exited(DEATH)
        assert len(link._exited) == EXECUTOR_ENDS_MAX + 1
        assert link._exited[-1] == DEATH

    asyncio.run(run())


def test_a_broken_connection_is_noticed_while_nothing_is_said() -> None:
    """Readiness does not wait for the next heartbeat."""
    hearing = Hearing()

    async def test(_link: MasterSession, master: FakeMaster) -> None:
        await hearing.hears()
        master.drop()
        await hearing.hears()
        assert hearing.greeted == 2

    talk(hearing, test)


def test_nobody_waits_for_a_master_that_is_not_there_to_say_farewell() -> None:
    """The leases end by themselves."""

    async def run() -> None:
        link = link_to(1)
        link.exited(DEATH)
        async with asyncio.timeout(SOON_S / 10):
            await link.farewell(SOON_S)

    asyncio.run(run())


def test_a_wrong_key_from_the_beginning_ends_the_link() -> None:
    """Trying again would not help; the exit code is 3."""
    with fake_master(Hearing()) as master, pytest.raises(AuthenticationFailed) as caught:
        asyncio.run(link_to(master.address[1], b"another key of the same kind").run())
    assert caught.value.exit_code == 3


def test_a_refusal_from_the_beginning_ends_the_link_with_the_masters_words() -> None:
    """As when the two speak no common protocol."""

    def refuse(_: Asked) -> object:
        raise RemoteRefusal("This master speaks protocol 9.")

    with fake_master(refuse) as master, pytest.raises(WorkerNotAdmitted, match="protocol 9") as caught:
        asyncio.run(link_to(master.address[1]).run())
    assert caught.value.exit_code == 3


def test_a_key_that_became_wrong_is_tried_again() -> None:
    """Keys are changed one process at a time; what runs goes on meanwhile."""
    hearing = Hearing()
    keys = [KEY]

    async def run(master: FakeMaster) -> None:
        link = link_to(master.address[1])
        talking = asyncio.create_task(link.run())
        await hearing.hears()
        keys[0] = b"the next key of this master"
        master.drop()
        assert (await asyncio.to_thread(master.closed.get, timeout=SOON_S)).authentication_failed
        keys[0] = KEY
        await hearing.hears()
        assert not talking.done()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)

    with fake_master(hearing, keys) as master:
        asyncio.run(run(master))


def test_what_the_master_wants_to_stop_is_passed_on() -> None:
    """As soon as a heartbeat is answered, and the next heartbeat follows at once."""
    hearing = Hearing()
    hearing.stops = [(7, 1), (8, 2)]
    STOPS.clear()

    async def test(_link: MasterSession, _master: FakeMaster) -> None:
        await hearing.hears()
        await hearing.hears()
        assert STOPS == [[(7, 1), (8, 2)]]

    talk(hearing, test)
