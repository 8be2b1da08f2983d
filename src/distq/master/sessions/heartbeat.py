"""A heartbeat that waits at the master for something to say to its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.cycle.requests import CallRequest
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.workers import WorkerSession
    from distq.net.serve import ServerConnection


class Heartbeat(CallRequest):
    """A heartbeat that is not answered yet."""

    __slots__ = ("session",)

    def __init__(self, connection: ServerConnection, session: WorkerSession) -> None:
        super().__init__(connection)
        self.session = session

    def say(self) -> None:
        """Reply with the tasks that the worker shall stop, and of which it shall say where they are."""
        session = self.session
        stops, session.stops = session.stops, []
        stacks, session.stacks = session.stacks, []
        self.connection.reply(returned({"abort": stops, "stacks": stacks} if stacks else {"abort": stops}))

    def expire(self, broker: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.session.beat = None
        self.say()
