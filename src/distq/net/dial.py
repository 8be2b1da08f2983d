"""The dialling side of executors, clients and commands: one blocking socket, one call at a time.

Written for a short start and a short round trip: nothing heavy is imported, a call goes out in one write
(two writes of a large one cost 40 ms: Nagle's algorithm waits for a delayed acknowledgement), and waiting is
one `poll`.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from distq.core.errors import DistqError
from distq.wire.errors import AuthenticationFailed, FrameTooLarge, WireError
from distq.wire.framing import Framer, pack_parts
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, ClientHandshake
from distq.wire.messages import decode_reply, encode_call

Address = tuple[str, int]
"""A host and a port; the settings' `Address` is one, and importing that costs 30 ms."""

FRAME_BYTES_MAX: Final = 64 << 20
"""The default of DISTQ_FRAME_BYTES_MAX."""
RECEIVE_BYTES: Final = 16 * 1024
RECEIVE_BYTES_MORE: Final = 256 * 1024
"""Bytes asked for once an answer is known to be long; the kernel takes 10 us to provide this room each time."""
NONCE_BYTES: Final = 32

KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
SILENT_PEER_MS_MAX: Final = 30_000
"""How long sent bytes may stay unacknowledged before the kernel gives the connection up: one lease."""

_clock = time.monotonic  # noqa: TID251 - the edge: deadlines of blocking calls


class CannotReach(DistqError):
    """No master answers at the address."""

    code = "CANNOT_REACH"
    hint = "Check DISTQ_ADDRESS, and that `distq master` runs there."
    exit_code = 3


class ConnectionLost(DistqError):
    """The connection to the master broke, or it did not answer in time; what was asked may have happened."""

    code = "CONNECTION_LOST"
    hint = "Connect again and ask again; settles and submits that come twice count once."
    exit_code = 3


class HasFileno(Protocol):
    """A socket, or anything else that has a file descriptor."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class Connection:
    """One authenticated connection; made by `dial`. Not for use by several threads at once."""

    __slots__ = ("_framer", "_poll", "_readable", "_socket", "address")

    def __init__(self, connected: socket.socket, address: Address) -> None:
        connected.setblocking(False)
        self.address = address
        self._socket = connected
        self._framer = Framer(HANDSHAKE_FRAME_BYTES_MAX)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self._readable = False
        """Whether `wait` has found bytes that are not read yet."""

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        self._socket.close()

    def abort(self) -> None:
        """End the connection from another thread: a call that waits there raises ConnectionLost."""
        # Closed under a thread that polls it, the descriptor would soon be another file's.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def call(
        self,
        ident: str | None,
        method: str,
        args: tuple[object, ...] = (),
        kwds: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> object:
        """Call a method of the object `ident` and return what it returned; None waits for ever.

        Raises:
            RemoteRefusal: the other end refused the call, in words; the connection stays usable.
            ConnectionLost: it is broken or did not answer in time, and is closed now.

        It is closed too by what interrupts the call, as Ctrl-C does.
        """
        deadline = None if timeout_s is None else _clock() + timeout_s
        packed = encode_call(ident, method, args, kwds)
        try:
            self._send(packed, deadline)
            reply = self._receive(deadline)
        except DistqError:
            raise
        except BaseException:
            self.close()  # interrupted (Ctrl-C): the next call would take the answer to this one for its own
            raise
        return decode_reply(reply)

    def ask(
        self,
        ident: str | None,
        method: str,
        args: tuple[object, ...] = (),
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Send a call without waiting for its answer, which `answer` must fetch before the next call.

        Raises:
            ConnectionLost: it is broken or does not take the call in time, and is closed now.
        """
        deadline = None if timeout_s is None else _clock() + timeout_s
        self._send(encode_call(ident, method, args), deadline)

    def answer(self, *, timeout_s: float | None = None) -> object:
        """Return what the call of the last `ask` returned, or raise as `call` does."""
        return decode_reply(self._receive(None if timeout_s is None else _clock() + timeout_s))

    @property
    def is_answering(self) -> bool:
        """Whether a part of an answer has been read: it does not make the socket readable any more."""
        return self._framer.partial

    def busy_wait(self, awake_s: float) -> bool:
        """Poll for an answer's first bytes, yielding the processor in between; False after `awake_s`.

        To be woken takes up to 40 us on an idle machine, and as long again for other processes on that processor.
        """
        end = _clock() + awake_s
        poll = self._poll.poll
        while not poll(0):
            if _clock() >= end:
                return False
            os.sched_yield()
        self._readable = True
        return True

    def wait(self, others: Sequence[HasFileno | int], *, timeout_s: float) -> bool:
        """Wait for an answer's first bytes; False when one of `others` was readable first, or time is up."""
        if others:
            ours = self.fileno()
            poll = select.poll()
            for source in (ours, *others):
                poll.register(source, select.POLLIN)
            self._readable = any(found == ours for found, _ in poll.poll(timeout_s * 1000))
        else:
            self._readable = bool(self._poll.poll(timeout_s * 1000))
        return self._readable

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Use the connection in a signal handler, while the thread that it has interrupted waits in `wait`.

        That wait goes on afterwards: it cannot be entered a second time.
        """
        polled, self._poll = self._poll, select.poll()
        self._poll.register(self._socket, select.POLLIN)
        try:
            yield
        finally:
            self._poll = polled

    def authenticate(self, authkey: bytes, frame_bytes_max: int, deadline: float | None) -> None:
        """Prove the key and have it proved; called once, by `dial`."""
        handshake = ClientHandshake(authkey, os.urandom(NONCE_BYTES))
        try:
            while not handshake.done:
                for body in handshake.receive(self._receive(deadline)):
                    self._send(body, deadline)
        except AuthenticationFailed as error:
            if error.reply is not None:
                self._send(error.reply, deadline)
            raise
        self._framer.limit_bytes = frame_bytes_max

    def _send(self, body: bytes, deadline: float | None) -> None:
        parts: list[bytes | memoryview] = list(pack_parts(body))
        try:
            while parts:
                try:
                    sent = self._socket.sendmsg(parts)
                except BlockingIOError:
                    self._wait_writable(deadline)
                    continue
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if sent:
                    parts[0] = memoryview(parts[0])[sent:]
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None

    def _receive(self, deadline: float | None) -> bytes:
        framer, connected = self._framer, self._socket
        try:
            while (frame := framer.pull()) is None:
                if not self._readable and not self._poll.poll(_left_ms(deadline)):
                    raise self._lost("no answer came in time")
                self._readable = False
                try:
                    data = connected.recv(RECEIVE_BYTES_MORE if framer.partial else RECEIVE_BYTES)
                except BlockingIOError:  # read meanwhile by a signal handler in this thread
                    continue
                if not data:
                    raise self._lost("the other end closed it")
                if (whole := framer.whole(data)) is not None:
                    return whole
                framer.push(data)
        except FrameTooLarge:
            self.close()
            raise
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None
        return frame

    def _wait_writable(self, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(_left_ms(deadline)):
            raise self._lost("it took no more bytes in time")

    def _lost(self, why: str) -> ConnectionLost:
        self.close()
        return ConnectionLost(f"The connection to {_text(self.address)} is lost: {why}.")


def _left_ms(deadline: float | None) -> float | None:
    # Rounded up: a poll of 0 ms would end shortly before the deadline.
    return None if deadline is None else max(deadline - _clock(), 0.0) * 1000 + 0.5


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def set_options(connected: socket.socket) -> None:
    """Make a TCP socket quick (no Nagle) and let it notice a peer whose host is gone."""
    tcp = socket.IPPROTO_TCP
    connected.setsockopt(tcp, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connected.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connected.setsockopt(tcp, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    connected.setsockopt(tcp, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS_MAX)


def dial(
    addresses: Sequence[Address],
    authkey: bytes,
    *,
    timeout_s: float,
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> Connection:
    """Connect to the first address that answers and prove the key; all of it within `timeout_s`.

    Raises:
        CannotReach: none of them answers, or what answers does not speak this protocol.
        AuthenticationFailed: one answers and has another key.
    """
    deadline = _clock() + timeout_s
    failures: list[str] = []
    for tried, address in enumerate(addresses):
        share_s = (deadline - _clock()) / (len(addresses) - tried)
        try:
            return _dial_one(address, authkey, max(share_s, 0.001), frame_bytes_max)
        except CannotReach as error:
            failures.append(str(error))
    raise CannotReach(" ".join(failures))


def _dial_one(address: Address, authkey: bytes, timeout_s: float, frame_bytes_max: int) -> Connection:
    deadline = _clock() + timeout_s
    try:
        connected = socket.create_connection(address, timeout_s)
    except OSError as error:
        why = "no answer came in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise CannotReach(f"The master at {_text(address)} cannot be reached: {why}.") from None
    set_options(connected)
    connection = Connection(connected, address)
    try:
        connection.authenticate(authkey, frame_bytes_max, deadline)
    except AuthenticationFailed as error:
        connection.close()
        raise AuthenticationFailed(f"The master at {_text(address)} does not let us in: {error}") from None
    except (ConnectionLost, WireError) as error:
        connection.close()
        raise CannotReach(
            f"The master at {_text(address)} cannot be reached: what listens there does not greet as a master does "
            f"(is it the HTTP port?): {error}"
        ) from None
    return connection
