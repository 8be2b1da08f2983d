"""A heartbeat that waits at the master for something to say to its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.requests import Asked
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.broker import Broker
    from distq.master.workers import Session
    from distq.net.serve import Line


class Beat(Asked):
    """A heartbeat that is not answered yet."""

    __slots__ = ("session",)

    def __init__(self, line: Line, session: Session) -> None:
        super().__init__(line)
        self.session = session

    def say(self) -> None:
        """Reply with the tasks that the worker shall stop, and of which it shall say where they are."""
        session = self.session
        stops, session.stops = session.stops, []
        stacks, session.stacks = session.stacks, []
        self.line.reply(returned({"abort": stops, "stacks": stacks} if stacks else {"abort": stops}))

    def expire(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.session.beat = None
        self.say()
