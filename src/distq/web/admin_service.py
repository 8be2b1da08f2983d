"""What the HTTP side needs of the master for its page: the calls of operators, as the command line makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distq.protocol.authority import Authority


class AdminService(Protocol):
    """Answers the calls of operators."""

    ending: asyncio.Event
    """Set when the master ends: streams of events end too."""

    def check(self, authority: Authority, what: str, asked: Mapping[str, Any]) -> None:
        """Raise Forbidden or BadCall unless a key allows a call."""
        ...

    def ask(self, what: str, asked: Mapping[str, Any]) -> asyncio.Future[Any]:
        """Make the call `admin(what, asked)`; the future ends with its answer or a DistqError.

        A caller that leaves cancels it.
        """
        ...
