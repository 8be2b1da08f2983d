"""The worker's session with the master: it introduces the worker, renews its leases, and says who has died.

It is tried for ever. Only what was wrong from the beginning (the key, the protocol) ends the worker: a person
is watching then, or an orchestrator that reports it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.net.address import Address
from distq.net.async_dial import AsyncConnection, open_channel
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import ConnectionLost
from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.worker.shared.clock import Clock
from distq.worker.shared.hello import is_stdlib_server

HELLO_S: Final = 10.0
HEARTBEAT_ANSWER_S: Final = 10.0
LEASE_MARGIN_S: Final = 0.25
"""A lease is taken to end so much earlier than it does: what has to end by then needs a moment for that."""
EXITED_MAX: Final = 1_000
"""Maximum ends of executors that wait to be told, while the master is away; beyond it those that ran nothing go."""
ABSENT_LOG_S: Final = 30.0
"""How often it is said again that the master is away."""


class TurnedAway(DistqError):
    """The master does not serve this worker."""

    code = "TURNED_AWAY"
    hint = "Give master and worker versions of distq that speak one protocol."
    exit_code = 3


class MasterSession:
    """The one conversation between a supervisor and the master."""

    def __init__(
        self,
        addresses: Sequence[Address],
        authkey: bytes,
        frame_bytes_max: int,
        reconnect: ReconnectBackoff,
        introduction: Mapping[str, object],
        holds: Callable[[], Sequence[tuple[int, int, int]]],
        report: Callable[[], Mapping[str, object]],
        stop: Callable[[Sequence[tuple[int, int]]], None],
        where: Callable[[Sequence[tuple[int, int]]], None],
        renew: Callable[[float, float], None],
        log: FilteringBoundLogger,
        clock: Clock,
    ) -> None:
        self.connected = False
        """Whether a master, or a stock server, answers now."""
        self.reason = "it has not been connected to yet"
        """Why not."""
        self._addresses = addresses
        self._authkey = authkey
        self._frame_bytes_max = frame_bytes_max
        self._reconnect = reconnect
        self._introduction = introduction
        self._holds = holds
        self._report = report
        self._stop = stop
        self._where = where
        self._renew = renew
        self._log = log
        self._clock = clock
        self._let_in = False
        self._stock = False
        self._logged_at = -ABSENT_LOG_S
        self._exited: list[Mapping[str, object]] = []
        self._returned: list[tuple[int, int]] = []
        self._stacks: list[tuple[int, int, str]] = []
        self._wake = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()

    def exited(self, end: Mapping[str, object]) -> None:
        """Tell the master at once, or as soon as it is there, how an executor has ended."""
        if self._stock:
            return  # nobody there would understand
        ran_something = end.get("running") or end.get("begun")
        if len(self._exited) >= EXITED_MAX and not ran_something:
            return
        self._exited.append(end)
        self._told.clear()
        self._wake.set()

    def returned(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Tell the master, as soon as it is there, that these tasks are handed back."""
        if not self._stock:
            self._returned += deliveries
            self._wake.set()

    def found(self, delivery: tuple[int, int], stack: str) -> None:
        """Tell the master where a task is."""
        self._stacks.append((*delivery, stack))
        self._wake.set()

    def wake(self) -> None:
        """Send a heartbeat now."""
        self._wake.set()

    async def farewell(self, timeout_s: float) -> None:
        """Wait until the master has heard of every end, if it is there to hear it."""
        try:
            async with asyncio.timeout(timeout_s if self.connected else 0):
                await self._told.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Connect, and connect again, until cancelled.

        Raises:
            AuthenticationFailed: the first answer ever was that the key is another one.
            TurnedAway: the first answer ever was a refusal.
        """
        while True:
            try:
                await self._converse()
            except AuthenticationFailed as error:
                if not self._let_in:
                    raise
                self._lost(error)
            except RemoteRefusal as error:
                if not self._let_in:
                    raise TurnedAway(f"The master refuses this worker: {error}") from None
                self._lost(error)
            except DistqError as error:
                self._lost(error)
            await asyncio.sleep(self._reconnect.pause_s())

    async def _converse(self) -> None:
        channel = await open_channel(self._addresses, self._authkey, self._frame_bytes_max)
        try:
            said_at = self._clock()
            greeting = await self._hello(channel)
            if greeting is None:
                await self._stay_at_stock()
            else:
                self._is_connected(channel, stock=False)
                await self._beat(channel, said_at, float(greeting["lease_s"]), float(greeting["heartbeat_s"]))
        finally:
            channel.close()

    async def _stay_at_stock(self) -> None:
        """Keep a connection to a stock server, to see when it goes: it ends each one that it cannot serve."""
        channel = await open_channel(self._addresses, self._authkey, self._frame_bytes_max)
        try:
            await channel.call(None, "accept_connection", "distq", timeout_s=HELLO_S)
            self._is_connected(channel, stock=True)
            why = await channel.lost
            raise ConnectionLost(f"The connection to {channel.address} is lost: {why}.")
        finally:
            channel.close()

    async def _hello(self, channel: AsyncConnection) -> Mapping[str, Any] | None:
        """What the master answers; None for a stock server, which knows no such call."""
        try:
            info = {**self._introduction, "holds": self._holds()}
            reply = await channel.call("broker", "hello", info, timeout_s=HELLO_S)
        except RemoteRefusal as error:
            if is_stdlib_server(error):
                return None
            raise
        return cast("Mapping[str, Any]", reply)

    async def _beat(self, channel: AsyncConnection, greeted_at: float, lease_s: float, heartbeat_s: float) -> None:
        """Send heartbeats. The master answers each when the next one is due, and earlier if there is something to do.

        What cannot wait so long is said with another heartbeat, upon which it answers both. One in each
        `heartbeat_s` is answered at once, so that we know until when the lease lasts.
        """
        unanswered = 0
        heard_at = greeted_at
        self._renew(greeted_at, heard_at + lease_s - LEASE_MARGIN_S)
        while True:
            self._wake.clear()
            said, back = list(self._exited), list(self._returned)
            stacks, self._stacks = self._stacks, []
            more = {"returned": back, "stacks": stacks}
            report = {**self._report(), "exited": said, **{word: what for word, what in more.items() if what}}
            sent_at = self._clock()
            patient = not (said or back or stacks or unanswered) and sent_at < heard_at + heartbeat_s
            channel.ask("broker", "heartbeat", report, heartbeat_s if patient else 0.0)
            unanswered += 1
            if patient and not await channel.wait(self._wake, heartbeat_s + 1.0) and self._wake.is_set():
                continue
            stops: list[tuple[int, int]] = []
            wheres: list[tuple[int, int]] = []
            while unanswered:
                answer = cast("Mapping[str, Any]", await channel.answer(HEARTBEAT_ANSWER_S))
                stops += answer["abort"]
                wheres += answer.get("stacks", ())
                unanswered -= 1
            heard_at = sent_at
            self._renew(greeted_at, heard_at + lease_s - LEASE_MARGIN_S)
            del self._exited[: len(said)], self._returned[: len(back)]
            if not self._exited:
                self._told.set()
            if stops or wheres:
                self._stop(stops)
                self._where(wheres)
            elif patient:  # a master that does not keep heartbeats waiting
                await channel.wait(self._wake, sent_at + heartbeat_s - self._clock())

    def _is_connected(self, channel: AsyncConnection, *, stock: bool) -> None:
        if not self.connected:
            self._log.info("master_connected", address=str(channel.address), stock=stock)
        self.connected = self._let_in = True
        self._stock = stock
        self._logged_at = -ABSENT_LOG_S
        self._reconnect.connected()
        if stock:
            self._exited.clear()
            self._told.set()

    def _lost(self, error: DistqError) -> None:
        self.connected = False
        self.reason = str(error)
        now = self._clock()
        if now - self._logged_at >= ABSENT_LOG_S:
            self._logged_at = now
            self._log.warning("master_lost" if self._let_in else "master_not_reached", reason=str(error))
