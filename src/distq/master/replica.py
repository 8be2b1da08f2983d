"""One of several masters on one store: it stands by until it leads, and again when it may not lead any more."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.ports import StoreError
from distq.logs import get_logger
from distq.master.main import Master, prepare_process
from distq.master.process import log_listening, start_http
from distq.net.descriptors import room_for_connections
from distq.net.front import Front
from distq.net.tls_files import server_files
from distq.settings.address import parse_address
from distq.settings.masters_table import advertised
from distq.storage import open_shared_store

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from distq.core.errors import DistqError
    from distq.net.serve import CallHandler, Server, ServerConnection
    from distq.settings import Address, Settings
    from distq.storage.postgresql.store import PostgresStore
    from distq.web.server import HttpServer
    from distq.wire.inert import InertCall

FOLLOW_S: Final = 0.05
"""Seconds between two looks at which master the store names as the leader."""
AGAIN_S: Final = 0.5
"""Seconds before a master whose leadership has ended stands by: a store that fails at once is not asked in a loop."""

CAUSES: Final = ("handover", "takeover")
"""Why a leadership begins, besides the first one of a cluster."""


class Replica:
    """The process of one of several masters; its ports are open whether it leads or not."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = get_logger()
        self.master: Master
        self.store: PostgresStore
        self.own_address = advertised(settings.advertise, settings.bind)
        self.front = Front(min(room_for_connections(), settings.connections_max or 1 << 30) // 2, settings.handshake_s)
        self.http = SwitchedApp()
        self._http_server: HttpServer | None = None
        self._http_stopping: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._tasks_left = 0
        """Number of tasks in the store when this master last led."""
        self.leaderships = dict.fromkeys(CAUSES, 0)
        """Number of leaderships that this process began, by cause."""
        self._leader = ""
        """The address of the leader that the log has named."""

    @property
    def leads(self) -> bool:
        """Whether this master leads now."""
        return bool(self.store.epoch) and self.store.check_lease()

    # -- the life of the process ---------------------------------------------------------------

    def prepare_process(self) -> None:
        """Allow as many connections as the system does, and stop on signals."""
        prepare_process(self.log, self._signalled)

    def _signalled(self, number: signal.Signals) -> None:
        self._is_stopping = True
        if not self.store.epoch or self.hands_over:
            self._stop_http()  # it takes a tenth of a second, in which the leadership is released
        self.master.signalled(number)

    async def run(self) -> int:
        """Lead or stand by until a signal; return the exit code. Raises DistqError if an operator can correct it."""
        settings = self.settings
        self._open(led_epoch=0)
        bound = await self.front.start(settings.bind)
        loopback = settings.loopback_bind and await self.front.start(settings.loopback_bind, without_tls=True)
        log_listening(self.log, settings, bound, loopback, has_tls=server_files(settings) is not None)
        await self._start_http()
        led_epoch = code = 0
        try:
            while True:
                following = asyncio.create_task(self._follow(), name="distq-follow")
                try:
                    code = await self.master.run()
                finally:
                    following.cancel()
                led_epoch = self.store.epoch or led_epoch
                if self._is_stopping:
                    return 0
                self.front.stand_by(None)
                gc.collect()  # the ledger of the epoch that has ended refers to itself
                await asyncio.sleep(AGAIN_S)
                if self._is_stopping:
                    return 0
                self._open(led_epoch)
        finally:
            self.front.close()
            await self._stop_http()
            self.log.info("master_stopped", tasks_left=self._tasks_left, code=code)

    def _open(self, led_epoch: int) -> None:
        """Open the store again, as a master that stands by."""
        settings = self.settings
        self.store = open_shared_store(
            settings.store, settings.store_secrets, settings.store_password_file, settings.leader_lease_s, led_epoch
        )
        self.master = Master(settings, store=self.store, process=self)

    async def _start_http(self) -> None:
        if self.settings.http_address is None:
            return
        from distq.web.app import create_standby_app  # noqa: PLC0415 - the master listens before it imports this

        self.http.standby = self.http.now = create_standby_app(self)
        self._http_server = await start_http(self.settings, self.log, self.http)

    def _stop_http(self) -> asyncio.Task[None]:
        """Begin to stop the HTTP server, if there is one and it has not begun."""
        if self._http_stopping is None:
            self._http_stopping = asyncio.create_task(self._end_http(), name="distq-http-stop")
        return self._http_stopping

    async def _end_http(self) -> None:
        if self._http_server is not None:
            await self._http_server.stop()

    async def _follow(self) -> None:
        """Pass connections on to the leader that the store names, while this master stands by."""
        while True:
            leader = self.store.leader
            if not self.store.epoch:
                self.front.stand_by(self._other(leader))
                if leader != self._leader and leader:
                    self._leader = leader
                    self.log.info("master_stood_by", leader=leader)
            await asyncio.sleep(FOLLOW_S)

    def _other(self, leader: str) -> Address | None:
        """Return the address of the leader, None if there is none or it is this master's own."""
        try:
            address = parse_address(leader)
        except ValueError:
            return None
        return None if address == self.own_address else address

    # -- figures for the standby's pages -------------------------------------------------------

    @property
    def leader(self) -> str:
        """The address of the leader, '' if none is known."""
        return self.store.leader

    @property
    def waiting(self) -> str:
        """What this master waits for, as a clause."""
        return self.store.waiting

    @property
    def lag_s(self) -> float:
        """How long ago this master knew all tasks that the store has; it leads at once if that is recent."""
        return self.store.lag_s

    @property
    def passed_connections(self) -> int:
        """Number of connections that are passed on, or wait for a leader."""
        return len(self.front.passed)

    # -- what a master uses of its process -----------------------------------------------------

    stands_by = True

    @property
    def hands_over(self) -> bool:
        """Whether another master waits to lead."""
        return self._is_stopping and self.store.standbys > 0

    def handler(self, handler: CallHandler) -> CallHandler:
        """Return a handler that answers no call after the end of the leader's lease."""
        return LeaderHandler(self, handler)

    def check(self) -> None:
        """Raise StoreError after the end of the leader's lease."""
        if not self.store.check_lease():
            raise StoreError("The leader's lease has ended.")

    async def serve(self, server: Server) -> Address:
        """Let the connections that wait, and all later ones, reach the server."""
        self.front.lead(server)
        self._leader = str(self.own_address)
        if cause := self.store.cause:
            self.leaderships[cause] += 1
        self.log.info("leadership_began", epoch=self.store.epoch, address=str(self.own_address), cause=cause or "first")
        return self.own_address

    async def serve_http(self, create_app: Callable[[], Any]) -> None:
        """Answer HTTP requests with the application of this leader."""
        if self._http_server is not None:
            self.http.now = create_app()

    def stop_listening(self, _server: Server) -> None:
        """Close the port, because the process ends and no other master waits to lead."""
        self.front.stop_listening()

    def store_failed(self, error: DistqError) -> int:
        """Log why this master leads no more."""
        self.front.stand_by(None)
        self.http.now = self.http.standby
        self.log.warning("leadership_ended", epoch=self.store.epoch, reason=str(error))
        return StoreError.exit_code

    async def ended(self, tasks: int, code: int) -> None:
        """Log that the leadership was handed over."""
        self._tasks_left = tasks
        if self._is_stopping and not code:
            self.log.info("leadership_released", epoch=self.store.epoch, tasks=tasks)


class LeaderHandler:
    """Passes calls on while the master leads: an answer of a leader whose lease has ended could lease a task twice."""

    def __init__(self, replica: Replica, handler: CallHandler) -> None:
        self._replica = replica
        self._handler = handler
        self.connection_closed = handler.connection_closed
        self.connection_refused = handler.connection_refused

    def called(self, connection: ServerConnection, call: InertCall) -> None:
        """Pass the call on, or end the connection."""
        if self._replica.store.check_lease():
            self._handler.called(connection, call)
        else:
            connection.abort()

    def called_again(self, connection: ServerConnection) -> None:
        """Pass the second call on, or end the connection."""
        if self._replica.store.check_lease():
            self._handler.called_again(connection)
        else:
            connection.abort()


class SwitchedApp:
    """An HTTP application that is the leader's while the master leads, and the standby's otherwise."""

    def __init__(self) -> None:
        self.standby: Any = None
        self.now: Any = None

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        await self.now(scope, receive, send)
