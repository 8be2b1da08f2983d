"""The calls of operators that come from the page at `/`: the same requests of the cycle as the command line's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from distq.core.errors import DistqError
from distq.master.calls.http_tasks import MasterEnding
from distq.master.cycle.request_guard import InternalError
from distq.protocol.methods import ADMIN, BROKER
from distq.wire.errors import BadCall, WireError
from distq.wire.inert import InertCall
from distq.wire.messages import decode_plain_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distq.master.admin.actions import AdminActions
    from distq.master.calls.gate import Gate
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection
    from distq.protocol.authority import Authority


class HttpAdmin:
    """Answers the HTTP side; `distq.web.admin_service.AdminService` declares its methods."""

    def __init__(self, cycle: Cycle, admin: AdminActions, gate: Gate) -> None:
        self._cycle = cycle
        self._admin = admin
        self._gate = gate
        self.ending = asyncio.Event()

    def check(self, authority: Authority, what: str, asked: Mapping[str, Any]) -> None:
        """Raise Forbidden or BadCall unless a key allows the call, as the gate decides it for the command line."""
        self._gate.check_broker(authority, InertCall(BROKER, ADMIN, (what, dict(asked)), {}, b""))

    def ask(self, what: str, asked: Mapping[str, Any]) -> asyncio.Future[Any]:
        """Make the call; the future ends with its answer or a DistqError. Raises DistqError."""
        if self.ending.is_set():
            raise MasterEnding("this master ends.")
        call = LocalCall()
        try:
            request = self._admin.request(cast("ServerConnection", call), (what, dict(asked)))
        except DistqError:
            raise
        except Exception as error:  # a value of a type that the request does not expect
            raise BadCall(f"{what} cannot be answered: {error!r}.") from error
        self._cycle.ask(request)
        return call.future

    def end(self) -> None:
        """Take no more calls, and end the streams of events."""
        self.ending.set()


class LocalCall:
    """Stands for the connection of a call that this process makes to itself; its reply ends a future."""

    state = None

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        """Whether the caller waits: requests that take many cycles end early if it has left."""
        return not self.future.done()

    @property
    def waits(self) -> bool:
        """Whether the caller still needs a reply."""
        return self.open

    def reply(self, body: bytes) -> None:
        """End the future with the reply that a peer would read."""
        if not self.future.done():
            try:
                self.future.set_result(decode_plain_reply(body))
            except WireError as error:
                self.future.set_exception(BadCall(str(error)))

    def abort(self) -> None:
        """End the future: the master failed at the request."""
        if not self.future.done():
            self.future.set_exception(InternalError("the master failed at this request."))
