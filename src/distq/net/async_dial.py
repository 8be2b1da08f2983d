"""The supervisor's own connection to the master, on its event loop: one call at a time, never blocking.

The dialling side of `net` is for processes that have nothing else to do; a supervisor must hear signals and
dying executors while it waits.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final, cast

from distq.net.address import Address
from distq.net.dial import NONCE_BYTES, CannotReach, ConnectionLost, set_options
from distq.wire.errors import AuthenticationFailed, WireError
from distq.wire.framing import Framer, pack_parts
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, ClientHandshake
from distq.wire.messages import decode_reply, encode_call

DIAL_S: Final = 5.0


class AsyncConnection(asyncio.Protocol):
    """One connection; made by `open_channel`."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended, with the reason."""
        self._framer = Framer(HANDSHAKE_FRAME_BYTES_MAX)
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        set_options(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for frame in self._framer.feed(data):
                self._frames.put_nowait(frame)
                self._arrived.set()
        except WireError as error:
            self._end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._end(str(exc) if exc else "the other end closed it")

    def close(self) -> None:
        """End the connection."""
        self._end("it was closed here")

    async def authenticate(self, authkey: bytes, frame_bytes_max: int) -> None:
        """Prove the key and have it proved; raises AuthenticationFailed or ConnectionLost."""
        handshake = ClientHandshake(authkey, os.urandom(NONCE_BYTES))
        try:
            while not handshake.done:
                for body in handshake.receive(await self._receive()):
                    self._send(body)
        except AuthenticationFailed as error:
            if error.reply is not None:
                self._send(error.reply)
            raise
        self._framer.limit_bytes = frame_bytes_max

    async def call(self, ident: str | None, method: str, *args: object, timeout_s: float) -> object:
        """Call a method of the object `ident` and return what it returned.

        Raises:
            RemoteRefusal: the other end refused the call, in words.
            ConnectionLost: the connection ended, or no answer came in time.
        """
        self.ask(ident, method, *args)
        return await self.answer(timeout_s)

    def ask(self, ident: str | None, method: str, *args: object) -> None:
        """Call a method without waiting; every call must be followed by one `answer`, in order."""
        self._send(encode_call(ident, method, args))

    async def answer(self, timeout_s: float) -> object:
        """What the oldest call that was not answered yet has returned; raises as `call` does."""
        try:
            async with asyncio.timeout(timeout_s):
                return decode_reply(await self._receive())
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

    def _send(self, body: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise self._error()
        self._transport.writelines(pack_parts(body))

    def _error(self) -> ConnectionLost:
        why = self.lost.result() if self.lost.done() else "it is being closed"
        return ConnectionLost(f"The connection to {self.address} is lost: {why}.")

    def _end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport is not None:
            self._transport.close()


async def open_channel(addresses: Sequence[Address], authkey: bytes, frame_bytes_max: int) -> AsyncConnection:
    """Connect to the first address that answers, and prove the key.

    Raises:
        CannotReach: none of them answers, or what answers does not speak this protocol.
        AuthenticationFailed: one answers and has another key.
    """
    failures: list[str] = []
    for address in addresses:
        try:
            async with asyncio.timeout(DIAL_S):
                return await _open_one(address, authkey, frame_bytes_max)
        except TimeoutError:
            failures.append(f"The master at {address} cannot be reached: no answer came in time.")
        except OSError as error:
            # asyncio's own text says again whom it called, but not why it failed.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            failures.append(f"The master at {address} cannot be reached: {why}.")
        except AuthenticationFailed as error:
            raise AuthenticationFailed(f"The master at {address} does not let us in: {error}") from None
        except (ConnectionLost, WireError) as error:
            failures.append(f"The master at {address} cannot be reached: {error}")
    raise CannotReach(" ".join(failures))


async def _open_one(address: Address, authkey: bytes, frame_bytes_max: int) -> AsyncConnection:
    loop = asyncio.get_running_loop()
    hosts = await _resolve(address)
    channel: AsyncConnection | None = None
    while channel is None:
        host = hosts.pop(0)
        try:
            _, channel = await loop.create_connection(lambda: AsyncConnection(address), host, address.port)
        except OSError:
            if not hosts:
                raise
    try:
        await channel.authenticate(authkey, frame_bytes_max)
    except BaseException:
        channel.close()
        raise
    return channel


async def _resolve(address: Address) -> list[str]:
    """The numeric addresses of a host.

    Not by the loop's own threads: those are waited for at exit, and a resolver that does not answer would
    hold up a worker that is to end.
    """
    try:
        return [str(ip_address(address.host))]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(hosts: list[str], error: OSError | None) -> None:
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
            loop.call_soon_threadsafe(tell, hosts, failure)
        except RuntimeError:
            pass  # the loop is closed: the answer is not needed any more

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    return await found
