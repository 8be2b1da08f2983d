"""The ports at which a master accepts connections, and the error of an address that it cannot have."""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Final

from distq.core.errors import DistqError
from distq.net.port_holder import held_by
from distq.settings.address import Address

BACKLOG: Final = 4096


class CannotListen(DistqError):
    """The master cannot listen at its address."""

    code = "CANNOT_LISTEN"
    hint = "Stop what listens there, or choose another with DISTQ_BIND."
    exit_code = 2


class Listeners:
    """The open ports of one process."""

    def __init__(self) -> None:
        self._open: list[asyncio.Server] = []

    async def start(self, address: Address, protocol: Callable[[], asyncio.BaseProtocol]) -> Address:
        """Give each connection to this address a new `protocol`; raises CannotListen.

        Returns the address with the port that the system chose for port 0.
        """
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_server(
                protocol, address.host, address.port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as exc:
            raise cannot_listen(address, exc) from exc
        self._open.append(listener)
        return Address(address.host, listener.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Accept no more connections; open connections stay open."""
        for listener in self._open:
            listener.close()


def cannot_listen(address: Address, exc: OSError) -> CannotListen:
    """Return the error of an address at which the master cannot listen."""
    # For a port in use, the event loop gives a text of its own; for an unknown host, a number that is no errno.
    reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
    holder = held_by(address.port) if exc.errno == errno.EADDRINUSE else ""
    return CannotListen(f"cannot listen at {address}: {reason}. {holder}".rstrip())
