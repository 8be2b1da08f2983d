"""A port on loopback without TLS that leads to a master with TLS, for programs of the standard library.

The bytes of such a program, with its proof of the authkey, pass unchanged: the tunnel itself needs no key.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

from distq.core.errors import DistqError
from distq.net.async_dial import resolve
from distq.net.dial import CannotReach, unopened
from distq.net.listening import CannotListen
from distq.net.port_holder import held_by
from distq.net.socket_options import set_options
from distq.net.tls_client import tls_stream
from distq.net.tls_files import TlsFiles
from distq.net.tls_stream import TlsStream
from distq.settings.address import Address
from distq.wire.errors import TlsFailed

DIAL_S: Final = 5.0
"""Maximum seconds to connect to one address, with the TLS handshake."""


class CannotOpenTunnel(CannotListen):
    """The tunnel cannot listen at its address."""

    code = "CANNOT_OPEN_TUNNEL"
    hint = "Stop what listens there, or choose another address with --listen."


class TunnelEnd(asyncio.Protocol):
    """One end of a tunnelled connection; it passes its bytes to the other end, at the speed of that one."""

    def __init__(self, tls: TlsStream | None = None) -> None:
        self.other: TunnelEnd | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when bytes can pass: after the handshake, if the end has TLS."""
        self.transport: asyncio.Transport
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - as asyncio.Protocol
        self.transport = cast("asyncio.Transport", transport)
        set_options(transport.get_extra_info("socket"))
        if self._tls is None:
            self.opened.set_result(None)
        else:
            self.transport.write(self._tls.start())

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._tls is not None:
            self._unseal(self._tls, data)
        elif self.other is not None:
            self.other.send(data)
            # A program of the standard library writes a header and its body separately, and waits in between for the
            # acknowledgement, which the kernel would delay for 40 ms.
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def send(self, data: bytes) -> None:
        """Send plain bytes of the other end."""
        self.transport.write(data if self._tls is None else self._tls.seal((data,)))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the other end closed it"))
        if self.other is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:  # noqa: D102
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:  # noqa: D102
        if self.other is not None:
            self.other.transport.resume_reading()

    def _unseal(self, tls: TlsStream, data: bytes) -> None:
        plain = b""
        try:
            plain = tls.receive(data)
        except TlsFailed as error:
            if not self.opened.done():
                self.opened.set_exception(error)
            self.transport.write(tls.unsent())
            self.transport.close()
            return
        if unsent := tls.unsent():
            self.transport.write(unsent)
        if tls.is_open and not self.opened.done():
            self.transport.pause_reading()  # until the ends are linked: the master sends first
            self.opened.set_result(None)
        if plain:
            assert self.other is not None, "the master sends nothing before it has read the end of the handshake"
            self.other.send(plain)


class Tunnel:
    """Listens on loopback, and connects to the master for each connection that it accepts."""

    def __init__(self, addresses: Sequence[Address], files: TlsFiles, report: Callable[[str], None]) -> None:
        self._addresses = addresses
        self._files = files
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self, address: Address) -> Address:
        """Listen, and return the address with the port that the system chose for port 0; raises CannotOpenTunnel."""
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._accept, address.host, address.port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise CannotOpenTunnel(f"cannot listen at {address}: {reason}. {held_by(address.port)}".rstrip()) from error
        return Address(address.host, self._listener.sockets[0].getsockname()[1])

    async def check(self) -> None:
        """Connect once; raises what `_open` raises."""
        (await self._open()).transport.close()

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    def _accept(self) -> TunnelEnd:
        near = TunnelEnd()
        task = asyncio.get_running_loop().create_task(self._lead(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def _lead(self, near: TunnelEnd) -> None:
        await near.opened
        near.transport.pause_reading()
        try:
            far = await self._open()
        except DistqError as error:
            self._report(f"{error} {error.hint}".strip())
            near.transport.abort()
            return
        near.other, far.other = far, near
        if near.transport.is_closing():
            far.transport.close()
        else:
            far.transport.resume_reading()
            near.transport.resume_reading()

    async def _open(self) -> TunnelEnd:
        """Connect to the first master that answers; raises CannotReach, TlsFailed or TlsUnusable."""
        failures = []
        for address in self._addresses:
            try:
                async with asyncio.timeout(DIAL_S):
                    return await self._open_one(address)
            except (OSError, DistqError) as error:
                failure = unopened(str(address), error)
                if not isinstance(failure, CannotReach):
                    raise failure from None
                failures.append(str(failure))
        raise CannotReach(" ".join(failures))

    async def _open_one(self, address: Address) -> TunnelEnd:
        loop = asyncio.get_running_loop()
        hosts = await resolve(address)
        while True:
            far = TunnelEnd(tls_stream(self._files, address.host))
            try:
                await loop.create_connection(partial(_given, far), hosts.pop(0), address.port)
                break
            except OSError:
                if not hosts:
                    raise
        try:
            await far.opened
        except BaseException:
            far.transport.close()
            raise
        return far


def _given(end: TunnelEnd) -> TunnelEnd:
    return end
