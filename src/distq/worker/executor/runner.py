"""The life of an executor: connect, serve what is there, and connect again when the connection is lost.

A task that runs is never disturbed by the network: the connection is looked at between tasks. What was done
meanwhile is kept, named in the next `hello` as still held, and settled first.
"""

from __future__ import annotations

import os
import platform
import select
from typing import TYPE_CHECKING

from distq._version import __version__
from distq.core.errors import DistqError
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import Connection, dial
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.batch_loop import BatchLoop
from distq.worker.executor.declared_schedules import declare
from distq.worker.executor.handler import HandlerUnusable
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.stdlib_server import StdlibServerLoop
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.hello import PROTOCOLS, is_stdlib_server
from distq.worker.shared.page import ExecutorPage
from distq.worker.shared.reports import Joined, Parted, Reporter, Trouble

if TYPE_CHECKING:
    from distq.worker.executor.concurrent_loop import ConcurrentLoop

DIAL_S = 5.0
HELLO_S = 10.0


class Runner:
    """One executor at work."""

    def __init__(
        self,
        orders: ExecutorConfig,
        broker: BatchLoop | ConcurrentLoop,
        stock: StdlibServerLoop | None,
        page: ExecutorPage,
        reporter: Reporter,
        quit_: ShutdownFlag,
        lifeline_fd: int,
    ) -> None:
        self._config = orders
        self._reporter = reporter
        self._shutdown = quit_
        self._lifeline_fd = lifeline_fd
        self._reconnect = ReconnectBackoff(orders.reconnect_max_s)
        self._connection: Connection | None = None
        self._page = page
        self._broker = broker
        self._stdlib_loop = stock
        """What it does at a standard-library server; None if it can do nothing there."""

    def run(self) -> int:
        """Serve until told to end, until worn, or until the supervisor is gone; returns the exit code."""
        os.register_at_fork(after_in_child=self._forked)
        try:
            while not (self._shutdown.asked or self._broker.recycling.out) or self._owes:
                try:
                    self._serve()
                except DistqError as error:
                    self._broker.parted()
                    self._reporter.send(Parted(str(error)))
                    if self._supervisor_gone(self._reconnect.pause_s()):
                        break
        finally:
            if self._broker.recycling.out:
                self._page.ends(self._broker.recycling.ending)
            self._page.leaves()
            self._broker.close()
        return os.EX_OK

    @property
    def _owes(self) -> bool:
        return self._broker.owes or (self._stdlib_loop is not None and self._stdlib_loop.owes)

    def _serve(self) -> None:
        self._connection = connection = self._dial()
        try:
            stock = self._is_stock(connection)
            self._reporter.send(Joined(stock))
            self._reconnect.connected()
            if stock:
                if self._stdlib_loop is None:
                    raise HandlerUnusable("A standard-library server's items are run one at a time.")
                self._stdlib_loop.serve(self._dial)
            else:
                self._broker.serve(connection)
        finally:
            connection.close()

    def _forked(self) -> None:
        """In a child that the task forked: it must not keep our connection open."""
        if self._connection is not None:
            self._connection.close()

    def _dial(self) -> Connection:
        orders = self._config
        return dial(orders.addresses, orders.authkey, timeout_s=DIAL_S, frame_bytes_max=orders.frame_bytes_max)

    def _is_stock(self, connection: Connection) -> bool:
        orders = self._config
        info = {
            "role": "executor",
            "protocol": PROTOCOLS,
            "version": __version__,
            "python": platform.python_version(),
            "name": orders.worker,
            "session": orders.session,
            "index": orders.number,
            "seats": orders.executor_slots,
            "holds": self._broker.holds,
            "states": True,
        }
        try:
            greeting = connection.call("broker", "hello", (info,), timeout_s=HELLO_S)
        except RemoteRefusal as error:
            if is_stdlib_server(error):
                return True
            raise
        self._broker.takes_notes = isinstance(greeting, dict) and bool(greeting.get("notes"))
        self._broker.answers.greeted(greeting)
        if isinstance(greeting, dict) and greeting.get("declares"):
            age_s = max(MONOTONIC() - orders.started_at, 0.0)
            declare(connection, orders, age_s, lambda why: self._reporter.send(Trouble(why)))
        return False

    def _supervisor_gone(self, pause_s: float) -> bool:
        """Wait before the next attempt to connect, unless the wait is cut short by a signal to end."""
        poll = select.poll()
        poll.register(self._lifeline_fd, select.POLLIN)
        if not self._shutdown.asked:
            poll.register(self._shutdown, select.POLLIN)
        found = {fd for fd, _ in poll.poll(pause_s * 1000)}
        return self._lifeline_fd in found
