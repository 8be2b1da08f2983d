"""The connection of supervisors and asyncio clients to the master, on their event loop, without blocking.

The connection of `net.dial` blocks its process. A supervisor must handle signals and ended executors while it waits
for the master, and an asyncio client must let other coroutines run.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, cast

from distq.core.errors import DistqError
from distq.net.dial import NONCE_BYTES, CannotReach, ConnectionLost, unopened
from distq.net.race import STAGGER_S
from distq.net.socket_options import set_options
from distq.net.tls_client import tls_stream
from distq.net.tls_files import TlsFiles
from distq.net.tls_stream import TlsStream
from distq.settings.address import Address
from distq.wire.errors import AuthenticationFailed, TlsFailed, WireError
from distq.wire.framing import Buffer, Framer, pack_parts
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, ClientHandshake
from distq.wire.messages import decode_plain_reply, pack_call

DIAL_S: Final = 5.0


class AsyncConnection(asyncio.Protocol):
    """One connection to the master; `open_channel` makes it."""

    def __init__(self, address: Address, tls: TlsStream | None = None) -> None:
        self.address = address
        self._tls = tls
        self._tls_failure: TlsFailed | None = None
        self.sends_split = False
        """Whether the master reads split frames; set by the caller that has read its greeting."""
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended, with the reason."""
        self._framer = Framer(HANDSHAKE_FRAME_BYTES_MAX)
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self._take: Callable[[bytes], None] = self._keep
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options; asyncio calls this when the connection is established."""
        self._transport = cast("asyncio.Transport", transport)
        set_options(transport.get_extra_info("socket"))
        if self._tls is not None:
            self._transport.write(self._tls.start())

    def data_received(self, data: bytes) -> None:
        """Queue each frame that these bytes complete."""
        if self._tls is not None and not (data := self._unseal(self._tls, data)):
            return
        try:
            whole = self._framer.whole(data)
            for frame in self._framer.feed(data) if whole is None else (whole,):
                self._take(frame)
        except WireError as error:
            self._end(str(error))

    def _keep(self, frame: bytes) -> None:
        self._frames.put_nowait(frame)
        self._arrived.set()

    def deliver_to(self, take: Callable[[bytes], None]) -> None:
        """Pass each further answer to `take` when it arrives, instead of keeping it for `answer`."""
        self._take = take

    def connection_lost(self, exc: Exception | None) -> None:
        """Record why the connection has ended."""
        self._end(str(exc) if exc else "the other end closed it")

    def close(self) -> None:
        """End the connection."""
        self._end("it was closed here")

    async def authenticate(self, authkey: bytes, frame_bytes_max: int) -> None:
        """Prove the key to the master, and check the master's proof; raises AuthenticationFailed or ConnectionLost."""
        handshake = ClientHandshake(authkey, os.urandom(NONCE_BYTES))
        try:
            while not handshake.done:
                for body in handshake.receive(await self._receive()):
                    self._send(pack_parts(body))
        except AuthenticationFailed as error:
            if error.reply is not None:
                self._send(pack_parts(error.reply))
            raise
        self._framer.limit_bytes = frame_bytes_max
        self._framer.takes_split = True

    async def call(self, ident: str | None, method: str, *args: object, timeout_s: float) -> object:
        """Call a method of the object `ident` and return what it returned.

        Raises:
            RemoteRefusal: the master refused the call; the text says why.
            ConnectionLost: the connection ended, or no answer arrived in time.
        """
        self.ask(ident, method, *args)
        return await self.answer(timeout_s)

    def ask(self, ident: str | None, method: str, *args: object) -> None:
        """Send a call without waiting; the caller must call `answer` once for each, in the same order."""
        self._send(pack_call(ident, method, args))

    async def answer(self, timeout_s: float) -> object:
        """Return the answer to the oldest call without one; raises as `call` does."""
        try:
            async with asyncio.timeout(timeout_s):
                return decode_plain_reply(await self._receive())
        except TimeoutError:
            self._end("no answer came in time")
            raise self._error() from None

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for an answer, the event or the connection's end; True if there is an answer."""
        if self._frames.empty() and not event.is_set():
            self._arrived = asyncio.Event()
            waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(one.wait()) for one in (event, self._arrived)]
            try:
                await asyncio.wait([*waiting, self.lost], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
        return not self._frames.empty()

    async def _receive(self) -> bytes:
        frame = asyncio.ensure_future(self._frames.get())
        try:
            await asyncio.wait((frame, self.lost), return_when=asyncio.FIRST_COMPLETED)
            if frame.done():
                return frame.result()
        finally:
            frame.cancel()
        raise self._error()

    def _send(self, parts: Sequence[Buffer]) -> None:
        if self._transport is None or self._transport.is_closing():
            raise self._error()
        self._transport.writelines(parts if self._tls is None else (self._tls.seal(parts),))

    def _unseal(self, tls: TlsStream, data: bytes) -> bytes:
        """Return the plain bytes of received ones, and send what TLS has to answer."""
        plain = b""
        try:
            plain = tls.receive(data)
        except TlsFailed as error:
            self._tls_failure = error
        unsent = tls.unsent()
        if unsent and self._transport is not None:
            self._transport.write(unsent)  # after an error too: the other end's log gets the reason
        if self._tls_failure is not None:
            self._end(str(self._tls_failure))
        return plain

    def _error(self) -> DistqError:
        if self._tls_failure is not None:
            return self._tls_failure
        why = self.lost.result() if self.lost.done() else "it is being closed"
        return ConnectionLost(f"The connection to {self.address} is lost: {why}.")

    def _end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport is not None:
            self._transport.close()


async def open_channel(
    addresses: Sequence[Address], authkey: bytes, frame_bytes_max: int, tls: TlsFiles | None = None
) -> AsyncConnection:
    """Connect to the address that answers first, and prove the key; with `tls` as `distq.net.dial.dial` does.

    Each address is tried a little later than the one before, or as soon as that one has failed.

    Raises:
        CannotReach: no address answers, or the server there does not use this protocol.
        AuthenticationFailed: a master answers and has another key.
        TlsFailed: a master answers, and the two ends make no TLS connection, or only one of them uses TLS.
        TlsUnusable: a file of `tls` cannot be used.
    """
    if len(addresses) == 1:
        return await _open_within(addresses[0], authkey, frame_bytes_max, tls)
    attempts: dict[asyncio.Task[AsyncConnection], None] = {}
    failures: list[str] = []
    waiting = list(addresses)
    try:
        while waiting or attempts:
            if waiting:
                attempt = asyncio.ensure_future(_open_within(waiting.pop(0), authkey, frame_bytes_max, tls))
                attempts[attempt] = None
            done, _ = await asyncio.wait(
                attempts, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                del attempts[attempt]
                try:
                    return attempt.result()
                except CannotReach as error:
                    failures.append(str(error))
        raise CannotReach(" ".join(failures))
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_late)


async def open_with_any(
    addresses: Sequence[Address], authkeys: Sequence[bytes], frame_bytes_max: int, tls: TlsFiles | None = None
) -> AsyncConnection:
    """Connect with the first of several keys that the master accepts, as when keys change; raises as `open_channel`."""
    for authkey in authkeys[:-1]:
        try:
            return await open_channel(addresses, authkey, frame_bytes_max, tls)
        except TlsFailed:
            raise
        except AuthenticationFailed:
            pass
    return await open_channel(addresses, authkeys[-1], frame_bytes_max, tls)


def _close_late(attempt: asyncio.Task[AsyncConnection]) -> None:
    """Close a connection that was made although another address had answered before."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _open_within(address: Address, authkey: bytes, frame_bytes_max: int, tls: TlsFiles | None) -> AsyncConnection:
    """Connect to one address within DIAL_S; raises as `open_channel`."""
    try:
        async with asyncio.timeout(DIAL_S):
            return await _open_one(address, authkey, frame_bytes_max, tls)
    except (OSError, DistqError) as error:
        raise unopened(str(address), error) from None


async def _open_one(address: Address, authkey: bytes, frame_bytes_max: int, tls: TlsFiles | None) -> AsyncConnection:
    loop = asyncio.get_running_loop()
    hosts = await resolve(address)
    channel: AsyncConnection | None = None
    while channel is None:
        host = hosts.pop(0)
        made = AsyncConnection(address, None if tls is None else tls_stream(tls, address.host))
        try:
            _, channel = await loop.create_connection(partial(_given, made), host, address.port)
        except OSError:
            if not hosts:
                raise
    try:
        await channel.authenticate(authkey, frame_bytes_max)
    except BaseException:
        channel.close()
        raise
    return channel


def _given(connection: AsyncConnection) -> AsyncConnection:
    return connection


async def resolve(address: Address) -> list[str]:
    """Return the numeric addresses of a host.

    A daemon thread resolves the name. The event loop waits at exit for its own threads, so a resolver that does not
    answer would delay the end of the worker.
    """
    try:
        return [str(ip_address(address.host))]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def report(hosts: list[str], error: OSError | None) -> None:
        if not found.done():
            found.set_exception(error) if error else found.set_result(hosts)

    def resolve() -> None:
        hosts: list[str] = []
        failure: OSError | None = None
        try:
            infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            hosts = [str(info[4][0]) for info in infos]
        except OSError as error:
            failure = error
        try:
            loop.call_soon_threadsafe(report, hosts, failure)
        except RuntimeError:
            pass  # the event loop is closed, so the answer is not needed

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    return await found
