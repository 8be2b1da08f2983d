"""Runs an executor: connects, serves a master or a standard-library server, and connects again after a loss.

The network never disturbs a running task: the executor looks at the connection between tasks. Tasks that end while the
master is away are named in the next `hello` as still held, and settled first.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.core.option_values import ACCEPT_JSON
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import Address, Connection
from distq.net.direct import DIRECT_S, DirectAddress
from distq.net.several_keys import dial_with_any
from distq.protocol.hello import ExecutorHello, Greeting, read_greeting, write_executor_hello
from distq.protocol.methods import BROKER, HELLO
from distq.settings.current_keys import current_authkeys
from distq.wire.errors import RemoteRefusal
from distq.wire.messages import decode_reply
from distq.worker.executor.batch_loop import BatchLoop
from distq.worker.executor.declared_schedules import declare
from distq.worker.executor.handler import HandlerUnusable
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.stdlib_server import StdlibServerLoop
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.hello import is_stdlib_server
from distq.worker.shared.page import ExecutorPage
from distq.worker.shared.reports import Connected, Disconnected, Reporter, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.worker.executor.concurrent_loop import ConcurrentLoop

DIAL_S = 5.0
"""Maximum seconds to connect and prove the key."""
UNSIGNED_SERVER: Final = (
    "The server is the standard library's, whose items are pickles without a signature, and this worker runs only what "
    "is signed (DISTQ_SIGNING_KEY) or in JSON (DISTQ_ACCEPT=json)."
)
HELLO_S = 10.0
"""Maximum seconds for the master to answer a `hello`."""


class Runner:
    """Connects one executor again and again, and has its loop serve each connection."""

    def __init__(
        self,
        config: ExecutorConfig,
        loop: BatchLoop | ConcurrentLoop,
        stdlib_loop: StdlibServerLoop | None,
        page: ExecutorPage,
        reporter: Reporter,
        shutdown: ShutdownFlag,
        lifeline_fd: int,
    ) -> None:
        self._config = config
        self._keys = current_authkeys(config, lambda _: None)  # the supervisor logs why a file cannot be used
        self._reporter = reporter
        self._shutdown = shutdown
        self._lifeline_fd = lifeline_fd
        self._reconnect = ReconnectBackoff(config.reconnect_max_s)
        self._direct = DirectAddress()
        self._connection: Connection | None = None
        self._page = page
        self._loop = loop
        self._stdlib_loop = stdlib_loop
        """Serves a standard-library server; None in an executor that runs several tasks at the same time."""

    def run(self) -> int:
        """Serve until the executor is to end or to be replaced, or its supervisor is gone; returns the exit code."""
        os.register_at_fork(after_in_child=self._forked)
        try:
            while not (self._shutdown.is_set or self._loop.recycling.is_due) or self._has_unsettled:
                try:
                    self._serve()
                except DistqError as error:
                    self._loop.connection_lost()
                    self._reporter.send(Disconnected(str(error)))
                    if self._supervisor_gone(self._reconnect.pause_s()):
                        break
        finally:
            if self._loop.recycling.is_due:
                self._page.set_ending(self._loop.recycling.reason)
            self._page.set_leaving()
            self._loop.close()
        return os.EX_OK

    @property
    def _has_unsettled(self) -> bool:
        return self._loop.has_unsettled or (self._stdlib_loop is not None and self._stdlib_loop.has_unsettled)

    def _serve(self) -> None:
        self._connection = connection = self._dial()
        try:
            greeting = self._hello(connection)
            if greeting is not None:
                address = self._direct.of(connection.address, greeting.leader)
                if address is not None and (direct := self._directly(address, greeting)) is not None:
                    connection.close()
                    self._connection = connection = direct
                self._greeted(greeting, connection)
            is_stdlib = greeting is None
            self._reporter.send(Connected(is_stdlib))
            self._reconnect.connected()
            if not is_stdlib:
                used = self._keys.keys
                self._loop.serve(connection, lambda: self._keys.recent() is not used)
            elif self._demands_signatures:
                raise HandlerUnusable(UNSIGNED_SERVER)
            elif self._stdlib_loop is not None:
                self._stdlib_loop.serve(self._dial_stdlib)
            else:
                raise HandlerUnusable("A standard-library server's items are run one at a time.")
        finally:
            connection.close()

    def _forked(self) -> None:
        """Close the connection in a child that the task forked: the child must not keep it open."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _demands_signatures(self) -> bool:
        """Whether the executor runs nothing of a server that knows no signatures, or that sends pickles only."""
        seals = self._loop.settlements.seals
        return (seals is not None and seals.demands_signatures) or self._config.accept == ACCEPT_JSON

    def _dial(self) -> Connection:
        return self._dial_any(self._config.addresses, DIAL_S)

    def _dial_stdlib(self) -> Connection:
        connection = self._dial()
        connection.decode = decode_reply
        return connection

    def _dial_any(self, addresses: Sequence[Address], timeout_s: float) -> Connection:
        config = self._config
        return dial_with_any(
            addresses, self._keys.now(), timeout_s=timeout_s, frame_bytes_max=config.frame_bytes_max, tls=config.tls
        )

    def _directly(self, address: Address, greeting: Greeting) -> Connection | None:
        """Return a connection to the leader itself, for one that a standby passes on; None if none can be made."""
        connection = None
        try:
            connection = self._dial_any((address,), DIRECT_S)
            again = self._hello(connection)
            if again is not None and again.instance == greeting.instance:
                return connection
        except DistqError:
            pass
        self._direct.failed(address)
        if connection is not None:
            connection.close()
        return None

    def _hello(self, connection: Connection) -> Greeting | None:
        """Introduce the executor to the master; None if the server is the standard library's and knows no `hello`."""
        config = self._config
        held = [(task_key, delivery) for task_key, delivery in self._loop.held]
        executor = ExecutorHello(config.number, config.executor_slots, held)
        hello = write_executor_hello(config.worker, config.session, executor)
        try:
            return read_greeting(connection.call(BROKER, HELLO, (hello,), timeout_s=HELLO_S))
        except RemoteRefusal as error:
            if is_stdlib_server(error):
                return None
            raise

    def _greeted(self, greeting: Greeting, connection: Connection) -> None:
        """Read the greeting, and declare the schedules of the tasks."""
        config = self._config
        self._loop.settlements.greeted(greeting)
        if greeting.declares:
            age_s = max(MONOTONIC() - config.started_at, 0.0)
            declare(connection, config, age_s, lambda why: self._reporter.send(Trouble(why)))

    def _supervisor_gone(self, pause_s: float) -> bool:
        """Wait before the next attempt to connect, or until SIGTERM; True if the supervisor is gone."""
        poll = select.poll()
        poll.register(self._lifeline_fd, select.POLLIN)
        if not self._shutdown.is_set:
            poll.register(self._shutdown, select.POLLIN)
        found = {fd for fd, _ in poll.poll(pause_s * 1000)}
        return self._lifeline_fd in found
