"""Reads an asyncio client's results, on a connection of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from distq.client.aio.link import MasterLink
from distq.client.result_receiver import PAUSE_S, RESULTS_WAIT_S
from distq.client.steps import MasterCall, Steps
from distq.protocol.methods import RESULTS

if TYPE_CHECKING:
    from distq.client.aio.future import AsyncFuture
    from distq.client.known_master import KnownMaster
    from distq.client.master_connection import ConnectionConfig, Outage
    from distq.client.pending_futures import PendingFutures
    from distq.protocol.hello import Greeting
    from distq.protocol.results import TaskEnd


class ResultReader:
    """Reads results from each connection that its link makes, and settles their futures."""

    def __init__(
        self,
        config: ConnectionConfig,
        outage: Outage,
        pending: PendingFutures[AsyncFuture[Any]],
        master: KnownMaster[AsyncFuture[Any]],
    ) -> None:
        self.link = MasterLink(config, outage, self._came_up, lambda _: None)
        self._pending = pending
        self._master = master
        self._number = 0
        """The number of the newest reply that was received completely."""

    def _came_up(self, greeting: Greeting) -> None:
        self._read(self._master.greet_for_results(greeting))

    def _read(self, keys: Sequence[int] = ()) -> None:
        """Read results from now on, after asking a restarted master about the awaited tasks."""
        if self.link.is_up:
            self.link.restart(self._steps(keys), self._ended)

    def _steps(self, keys: Sequence[int]) -> Steps[None]:
        if keys:
            yield from self._pending.ask_about(keys)
        while True:
            reply = yield MasterCall(RESULTS, (self._number, RESULTS_WAIT_S), RESULTS_WAIT_S)
            number, rows = cast("tuple[int, list[TaskEnd]]", reply)
            self._pending.receive(rows)
            self._number = number  # last: the master sends a reply again whose number it did not get back

    def _ended(self, _result: object, error: BaseException | None) -> None:
        """Fail all futures after an error that no new connection ends, and read again after a pause."""
        if error is not None and not self.link.closed:
            self._pending.fail(None, lambda _: cast("Exception", error))
            asyncio.get_running_loop().call_later(PAUSE_S, self._read)
