"""The worker's session with the master: introduces the worker, renews its leases, and reports how executors end.

The session connects again for ever. Only what was wrong from the beginning (the key, the protocol) ends the worker:
then a person is watching, or an orchestrator that reports it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from typing import Final

from structlog.typing import FilteringBoundLogger

from distq.core.errors import DistqError
from distq.net.async_dial import AsyncConnection, open_with_any
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import ConnectionLost
from distq.net.direct import DIRECT_S, DirectAddress
from distq.net.tls_files import TlsFiles
from distq.protocol.heartbeat import ExecutorEnd, WorkerReport, read_answer, write_report
from distq.protocol.hello import Greeting, read_greeting, with_holds
from distq.protocol.methods import BROKER, HEARTBEAT, HELLO
from distq.settings.address import Address
from distq.settings.current_keys import CurrentKeys
from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.worker.shared.clock import Clock
from distq.worker.shared.hello import is_stdlib_server
from distq.worker.shared.lease_id import LeaseId

HELLO_S: Final = 10.0
"""Maximum seconds for the master to answer a `hello`."""
HEARTBEAT_ANSWER_S: Final = 10.0
"""Maximum seconds for the master to answer a heartbeat that is due."""
LEASE_MARGIN_S: Final = 0.25
"""Seconds by which a lease is taken to end early: lease-bound tasks need some time to end."""
EXECUTOR_ENDS_MAX: Final = 1_000
"""Maximum ends of executors kept while the master is away; beyond it, ends that blame no task are dropped."""
ABSENT_LOG_S: Final = 30.0
"""Seconds between two log lines that the master is away."""


class WorkerNotAdmitted(DistqError):
    """The master does not serve this worker; the text says why, and what to do."""

    code = "TURNED_AWAY"
    exit_code = 3


class _KeysChanged(ConnectionLost):
    """The file of the key has changed: the worker connects again, with the new key."""


class MasterSession:
    """The session between one supervisor and the master."""

    def __init__(
        self,
        addresses: Sequence[Address],
        keys: CurrentKeys,
        frame_bytes_max: int,
        reconnect: ReconnectBackoff,
        introduction: Mapping[str, object],
        holds: Callable[[], Sequence[tuple[int, int, int]]],
        report: Callable[[], WorkerReport],
        stop: Callable[[Sequence[LeaseId]], None],
        find: Callable[[Sequence[LeaseId]], None],
        renew: Callable[[float, float], None],
        log: FilteringBoundLogger,
        clock: Clock,
        tls: TlsFiles | None = None,
    ) -> None:
        self.connected = False
        """Whether a master, or a standard-library server, answers now."""
        self.reason = "it has not been connected to yet"
        """Why the worker is not connected."""
        self._addresses = addresses
        self._keys = keys
        self._frame_bytes_max = frame_bytes_max
        self._tls = tls
        self._direct = DirectAddress()
        self._reconnect = reconnect
        self._introduction = introduction
        self._holds = holds
        self._report = report
        self._stop = stop
        self._find = find
        self._renew = renew
        self._log = log
        self._clock = clock
        self._was_admitted = False
        self._is_stdlib_server = False
        self._logged_at = -ABSENT_LOG_S
        self._exited: list[ExecutorEnd] = []
        self._released: list[LeaseId] = []
        self._stacks: list[tuple[int, int, str]] = []
        self._wake = asyncio.Event()
        self._all_reported = asyncio.Event()
        self._all_reported.set()

    def exited(self, end: ExecutorEnd) -> None:
        """Report to the master, now or when it is back, how an executor has ended."""
        if self._is_stdlib_server:
            return  # the standard library's server has no such call
        ran_something = end.running or end.begun
        if len(self._exited) >= EXECUTOR_ENDS_MAX and not ran_something:
            return
        self._exited.append(end)
        self._all_reported.clear()
        self._wake.set()

    def released(self, lease_ids: Sequence[LeaseId]) -> None:
        """Hand these tasks back to the master, now or when it is back."""
        if not self._is_stdlib_server:
            self._released += lease_ids
            self._wake.set()

    def found(self, lease_id: LeaseId, stack: str) -> None:
        """Send the master the stack of a task."""
        self._stacks.append((*lease_id, stack))
        self._wake.set()

    def wake(self) -> None:
        """Send a heartbeat now."""
        self._wake.set()

    async def wait_reported(self, timeout_s: float) -> None:
        """Wait until every executor's end is reported, if the master is connected."""
        try:
            async with asyncio.timeout(timeout_s if self.connected else 0):
                await self._all_reported.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Connect, and connect again, until cancelled.

        Raises:
            AuthenticationFailed: the first master ever reached has another key.
            WorkerNotAdmitted: the first master ever reached has refused this worker.
        """
        while True:
            try:
                await self._serve_connection()
            except AuthenticationFailed as error:
                if not self._was_admitted:
                    raise
                self._lost(error)
            except RemoteRefusal as error:
                if not self._was_admitted:
                    raise WorkerNotAdmitted(f"The master refuses this worker: {error}") from None
                self._lost(error)
            except _KeysChanged:
                self._log.info("keys_reloaded", keys=len(self._keys.keys))
                continue
            except DistqError as error:
                self._lost(error)
            await asyncio.sleep(self._reconnect.pause_s())

    async def _serve_connection(self) -> None:
        connection = await open_with_any(self._addresses, self._keys.now(), self._frame_bytes_max, self._tls)
        try:
            greeted_at = self._clock()
            greeting = await self._hello(connection)
            if greeting is not None and (address := self._direct.of(connection.address, greeting.leader)):
                connection = await self._directly(Address(*address), connection, greeting)
            if greeting is None:
                await self._stay_at_stdlib_server()
            else:
                self._is_connected(connection, is_stdlib=False)
                await self._beat(connection, greeted_at, float(greeting.lease_s), float(greeting.heartbeat_s))
        finally:
            connection.close()

    async def _directly(self, address: Address, passed: AsyncConnection, greeting: Greeting) -> AsyncConnection:
        """Replace a connection that a standby passes on by one to the leader itself, if that can be made."""
        connection = None
        try:
            async with asyncio.timeout(DIRECT_S):
                connection = await open_with_any((address,), self._keys.now(), self._frame_bytes_max, self._tls)
                again = await self._hello(connection)
            if again is not None and again.instance == greeting.instance:
                passed.close()
                direct, connection = connection, None
                return direct
        except (DistqError, TimeoutError):
            pass
        finally:
            if connection is not None:
                connection.close()
        self._direct.failed(address)
        return passed

    async def _stay_at_stdlib_server(self) -> None:
        """Keep a connection to a standard-library server, to notice its end; `hello`'s connection was closed by it."""
        connection = await open_with_any(self._addresses, self._keys.now(), self._frame_bytes_max, self._tls)
        try:
            await connection.call(None, "accept_connection", "distq", timeout_s=HELLO_S)
            self._is_connected(connection, is_stdlib=True)
            why = await connection.lost
            raise ConnectionLost(f"The connection to {connection.address} is lost: {why}.")
        finally:
            connection.close()

    async def _hello(self, connection: AsyncConnection) -> Greeting | None:
        """The master's greeting; None from a standard-library server, which has no such call."""
        try:
            info = with_holds(self._introduction, self._holds())
            reply = await connection.call(BROKER, HELLO, info, timeout_s=HELLO_S)
        except RemoteRefusal as error:
            if is_stdlib_server(error):
                return None
            raise
        return read_greeting(reply)

    async def _beat(self, connection: AsyncConnection, greeted_at: float, lease_s: float, heartbeat_s: float) -> None:
        """Send heartbeats. The master answers each when the next one is due, and earlier if there is something to do.

        An urgent report goes with a second heartbeat, upon which the master answers both. One heartbeat in each
        `heartbeat_s` is answered immediately, so that the worker knows until when its leases hold.
        """
        unanswered = 0
        renewed_at = greeted_at
        self._renew(greeted_at, renewed_at + lease_s - LEASE_MARGIN_S)
        used = self._keys.keys
        while True:
            if self._keys.recent() is not used:
                raise _KeysChanged("The file of the worker's key has another one now.")
            self._wake.clear()
            exited, released = list(self._exited), list(self._released)
            stacks, self._stacks = self._stacks, []
            report = self._report()._replace(exited=exited, released=released, stacks=stacks)
            sent_at = self._clock()
            patient = not (exited or released or stacks or unanswered) and sent_at < renewed_at + heartbeat_s
            connection.ask(BROKER, HEARTBEAT, write_report(report), heartbeat_s if patient else 0.0)
            unanswered += 1
            if patient and not await connection.wait(self._wake, heartbeat_s + 1.0) and self._wake.is_set():
                continue
            to_stop: list[LeaseId] = []
            to_find: list[LeaseId] = []
            while unanswered:
                answer = read_answer(await connection.answer(HEARTBEAT_ANSWER_S))
                to_stop += starmap(LeaseId, answer.stops)
                to_find += starmap(LeaseId, answer.stacks)
                unanswered -= 1
            renewed_at = sent_at
            self._renew(greeted_at, renewed_at + lease_s - LEASE_MARGIN_S)
            del self._exited[: len(exited)], self._released[: len(released)]
            if not self._exited:
                self._all_reported.set()
            if to_stop or to_find:
                self._stop(to_stop)
                self._find(to_find)
            elif patient:  # an old master that answers every heartbeat immediately
                await connection.wait(self._wake, sent_at + heartbeat_s - self._clock())

    def _is_connected(self, connection: AsyncConnection, *, is_stdlib: bool) -> None:
        if not self.connected:
            self._log.info("master_connected", address=str(connection.address), stock=is_stdlib)
        self.connected = self._was_admitted = True
        self._is_stdlib_server = is_stdlib
        self._logged_at = -ABSENT_LOG_S
        self._reconnect.connected()
        if is_stdlib:
            self._exited.clear()
            self._all_reported.set()

    def _lost(self, error: DistqError) -> None:
        self.connected = False
        self.reason = str(error)
        now = self._clock()
        if now - self._logged_at >= ABSENT_LOG_S:
            self._logged_at = now
            self._log.warning("master_lost" if self._was_admitted else "master_not_reached", reason=str(error))
