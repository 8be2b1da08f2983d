"""The request of `distq doctor`: what the master says about its own security."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distq.master.cycle.requests import CallRequest
from distq.protocol.permissions import ROLES
from distq.protocol.security_report import KeyReport, SecurityReport, write_security_report
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection
    from distq.protocol.authority import Authority

Report = Callable[[], SecurityReport]
"""Makes the report of a master, without the key of the connection that asks."""


class ShowSecurity(CallRequest):
    """`security`: replies with the master's report, and with what the key of this connection allows."""

    __slots__ = ("_report",)

    def __init__(self, connection: ServerConnection, report: Report) -> None:
        super().__init__(connection)
        self._report = report

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        report = self._report()._replace(key=key_report(self.connection.authority))
        self.connection.reply(returned(write_security_report(report)))


def key_report(authority: Authority, workers: int = 0, clients: int = 0) -> KeyReport:
    """What a key allows, and the numbers of its connections."""
    roles = tuple(role for role in ROLES if role in authority.roles)
    return KeyReport(authority.name, roles, authority.queues, authority.is_old, workers, clients)
