"""The connection of executors, clients and commands to the master: one blocking socket, one call at a time.

It starts and answers fast: the module imports nothing slow, sends a call in one write, and waits with one `poll`. Two
writes of a large call would cost 40 ms, because Nagle's algorithm waits for a delayed acknowledgement.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.net.race import Race
from distq.net.socket_options import set_options
from distq.net.source_poll import CLOSED, ClosedPoll, HasFileno, SourcePoll, poll_of
from distq.net.tls_client import tls_stream
from distq.net.tls_files import TlsFiles
from distq.wire.errors import AuthenticationFailed, FrameTooLarge, TlsFailed, WireError
from distq.wire.framing import Buffer, Framer, pack_parts
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, ClientHandshake
from distq.wire.messages import decode_plain_reply, pack_call

if TYPE_CHECKING:
    from distq.net.tls_stream import TlsStream

Address = tuple[str, int]
"""A host and a port. The `Address` of the settings is such a tuple too, but its import takes 30 ms."""

FRAME_BYTES_MAX: Final = 64 << 20
"""The default of DISTQ_FRAME_BYTES_MAX."""
RECEIVE_BYTES: Final = 16 * 1024
RECEIVE_BYTES_MORE: Final = 256 * 1024
"""Maximum bytes of a read with TLS after the first one of a long answer; not the first size: each costs 10 us."""
NONCE_BYTES: Final = 32

_clock = time.monotonic  # noqa: TID251 - the edge: deadlines of blocking calls


class CannotReach(DistqError):
    """No master answers at the address."""

    code = "CANNOT_REACH"
    hint = "Check DISTQ_ADDRESS, and that `distq master` runs there."
    exit_code = 3


class ConnectionLost(DistqError):
    """The connection to the master broke, or the master did not answer in time; it may have executed the call."""

    code = "CONNECTION_LOST"
    hint = "Try again: the master was restarted, or the network failed. It may have done what it was asked to do."
    exit_code = 3


class Connection:
    """One authenticated connection, which `dial` makes; only one thread may use it at a time."""

    __slots__ = (
        "_all_sources",
        "_framer",
        "_poll",
        "_readable",
        "_socket",
        "address",
        "decode",
        "sends_split",
        "tls",
    )

    def __init__(self, connected: socket.socket, address: Address, tls: TlsStream | None = None) -> None:
        connected.setblocking(False)
        self.address, self.decode = address, decode_plain_reply
        self.sends_split = False
        """Whether the master reads split frames; set by the caller that has read its greeting."""
        self._socket = connected
        self.tls = tls
        """The connection's TLS, None without it."""
        self._framer = Framer(HANDSHAKE_FRAME_BYTES_MAX)
        self._poll: select.poll | ClosedPoll = poll_of(connected)
        self._all_sources = SourcePoll()
        """Polls the socket and the other sources of `wait`."""
        self._readable = False
        """Whether `wait` has found bytes that the connection has not read yet."""

    def fileno(self) -> int:
        """Return the socket's file descriptor; -1 after `close`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; a second time does nothing. Every later use of the connection raises ConnectionLost."""
        self._poll = CLOSED
        self._socket.close()

    def abort(self) -> None:
        """End the connection from another thread; a call that waits in its own thread raises ConnectionLost."""
        # Do not close the descriptor while a thread polls it: another file could get the same number.
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
        """Call a method of the object `ident` and return its result; without `timeout_s` the call may wait for ever.

        Any other exception that interrupts the call, such as KeyboardInterrupt, closes the connection.

        Raises:
            RemoteRefusal: the master refused the call, and the text says why; the connection stays usable.
            ConnectionLost: the connection broke, or the master did not answer in time; the connection is closed.
        """
        deadline = None if timeout_s is None else _clock() + timeout_s
        packed = pack_call(ident, method, args, kwds)
        try:
            self._send(packed, deadline)
            reply = self._receive(deadline)
        except DistqError:
            raise
        except BaseException:
            self.close()  # after Ctrl-C the next call would read the answer to this one
            raise
        return self.decode(reply)

    def ask(
        self,
        ident: str | None,
        method: str,
        args: tuple[object, ...] = (),
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Send a call without waiting for its answer; the caller must call `answer` before the next call.

        Raises:
            ConnectionLost: the connection broke, or did not take the call in time; the connection is closed.
        """
        deadline = None if timeout_s is None else _clock() + timeout_s
        self._send(pack_call(ident, method, args), deadline)

    def answer(self, *, timeout_s: float | None = None) -> object:
        """Return the answer to the call of the last `ask`; raises as `call` does."""
        return self.decode(self._receive(None if timeout_s is None else _clock() + timeout_s))

    @property
    def is_answering(self) -> bool:
        """Whether a part of an answer has been read; that part does not make the socket readable any more."""
        return self._framer.partial or (self.tls is not None and self.tls.has_partial_record)

    def busy_wait(self, awake_s: float) -> bool:
        """Poll for an answer's first bytes, and yield the processor in between; return False after `awake_s` seconds.

        To wake a sleeping process takes up to 40 us on an idle machine, and up to 40 us more if other processes use
        that processor.
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
        """Wait for an answer's first bytes; False if one of `others` was readable first, or after `timeout_s`."""
        if others:
            own_fd = self.fileno()
            self._readable = own_fd < 0 or own_fd in self._all_sources.readable((own_fd, *others), timeout_s)
        else:
            self._readable = bool(self._poll.poll(timeout_s * 1000))
        return self._readable

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Let a signal handler use the connection while the thread that it has interrupted waits in `wait`.

        The handler gets its own poll object: the thread continues its wait afterwards, and Python does not allow two
        waits on one poll object at the same time.
        """
        polled, self._poll = self._poll, CLOSED if self._poll is CLOSED else poll_of(self._socket)
        try:
            yield
        finally:
            if self._poll is not CLOSED:
                self._poll = polled

    def authenticate(self, authkey: bytes, frame_bytes_max: int, deadline: float | None) -> None:
        """Prove the key to the master, and check the master's proof; `dial` calls this once."""
        handshake = ClientHandshake(authkey, os.urandom(NONCE_BYTES))
        if self.tls is not None:
            self._send_parts([self.tls.start()], deadline)
        try:
            while not handshake.done:
                for body in handshake.receive(self._receive(deadline)):
                    self._send(pack_parts(body), deadline)
        except AuthenticationFailed as error:
            if error.reply is not None:
                self._send(pack_parts(error.reply), deadline)
            raise
        self._framer.limit_bytes = frame_bytes_max
        self._framer.takes_split = True

    def _send(self, parts: Sequence[Buffer], deadline: float | None) -> None:
        self._send_parts(parts if self.tls is None else [self.tls.seal(parts)], deadline)

    def _send_parts(self, unsent: Sequence[Buffer], deadline: float | None) -> None:
        try:
            parts = list(unsent)
            while parts:
                try:
                    sent = self._socket.send(parts[0]) if len(parts) == 1 else self._socket.sendmsg(parts)
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
        framer = self._framer
        try:
            while (frame := framer.pull()) is None:
                if not self._readable and not self._poll.poll(_left_ms(deadline)):
                    raise self._lost("no answer came in time")
                self._readable = False
                try:
                    room = framer.room
                    data = self._socket.recv(RECEIVE_BYTES) if room is None else self._read_more(room)
                except BlockingIOError:  # a signal handler in this thread has read the bytes
                    continue
                if not data and (room is None or self.tls is not None):
                    raise self._lost("the other end closed it")
                if self.tls is not None:
                    data = self._unseal(self.tls, data, deadline)
                if (whole := framer.whole(data)) is not None:
                    return whole
                framer.push(data)
        except FrameTooLarge:
            self.close()
            raise
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None
        return frame

    def _read_more(self, room: memoryview) -> bytes:
        """Receive more bytes of a large frame: into its buffer, or with TLS return them; raises BlockingIOError."""
        if self.tls is not None:
            return self._socket.recv(RECEIVE_BYTES_MORE)
        count = self._socket.recv_into(room)
        if not count:
            raise self._lost("the other end closed it")
        self._framer.received(count)
        return b""

    def _unseal(self, tls: TlsStream, data: bytes, deadline: float | None) -> bytes:
        """Return the plain bytes of received ones, and send what TLS has to answer."""
        try:
            return tls.receive(data)
        except TlsFailed:
            with suppress(ConnectionLost):
                self._send_parts([tls.unsent()], deadline)  # the other end's log gets the reason
            self.close()
            raise
        finally:
            if unsent := tls.unsent():
                self._send_parts([unsent], deadline)

    def _wait_writable(self, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(_left_ms(deadline)):
            raise self._lost("it took no more bytes in time")

    def _lost(self, why: str) -> ConnectionLost:
        self.close()
        return ConnectionLost(f"The connection to {_text(self.address)} is lost: {why}.")


def _left_ms(deadline: float | None) -> float | None:
    # Rounded up: a poll that is rounded down would end shortly before the deadline.
    return None if deadline is None else max(deadline - _clock(), 0.0) * 1000 + 0.5


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unopened(address: str, error: OSError | DistqError) -> DistqError:
    """Return the error of a connection that could not be opened, with the address of the master.

    An error of a file, such as TlsUnusable, is returned as it is.
    """
    if isinstance(error, TlsFailed):
        return TlsFailed(f"There is no TLS connection to the master at {address}. {error}")
    if isinstance(error, AuthenticationFailed):
        return AuthenticationFailed(f"The master at {address} does not let us in: {error}")
    if isinstance(error, ConnectionLost):
        why = (
            f"it sent no greeting. Either no master leads now (they may have lost their database: see their logs), or "
            f"no master listens there (is it the HTTP port?). {error}"
        )
    elif isinstance(error, WireError):
        why = f"what listens there does not greet as a master does (is it the HTTP port?): {error}"
    elif isinstance(error, TimeoutError):
        why = "no answer came in time."
    elif isinstance(error, OSError):
        # The text of asyncio repeats the address, but does not give the reason.
        number = error.errno or 0
        why = f"{os.strerror(number) if number > 0 else error.strerror or error}."
    else:
        return error
    return CannotReach(f"The master at {address} cannot be reached: {why}")


def dial(
    addresses: Sequence[Address],
    authkey: bytes,
    *,
    timeout_s: float,
    frame_bytes_max: int = FRAME_BYTES_MAX,
    tls: TlsFiles | None = None,
) -> Connection:
    """Connect to the address that answers first and prove the key, within `timeout_s` seconds in all.

    Each address is tried a little later than the one before, or as soon as that one has failed.

    With `tls` the connection is TLS, and the master's certificate must be signed by its CA and have the host's name.
    The files are read each time: they may be replaced while the program runs.

    Raises:
        CannotReach: no address answers, or the server there does not use this protocol.
        AuthenticationFailed: a master answers and has another key.
        TlsFailed: a master answers, and the two ends make no TLS connection, or only one of them uses TLS.
        TlsUnusable: a file of `tls` cannot be used.
    """
    if len(addresses) == 1:
        return _dial_one(addresses[0], authkey, timeout_s, frame_bytes_max, tls)
    deadline = _clock() + timeout_s
    streams: dict[socket.socket, TlsStream] = {}

    def connected(address: Address, attempt: socket.socket) -> None:
        set_options(attempt)
        if tls is not None:
            try:
                streams[attempt] = stream = tls_stream(tls, address[0])
            except TlsFailed as error:
                raise unopened(_text(address), error) from None
            with suppress(OSError):  # if the other end has closed it, it becomes readable
                attempt.send(stream.start())

    race = Race(addresses, deadline, connected)
    failures: list[str] = []
    try:
        for address, answering in race.answering():
            connection = Connection(answering, address, streams.get(answering))
            try:
                return _proved(connection, authkey, frame_bytes_max, deadline)
            except CannotReach as error:
                failures.append(str(error))
    finally:
        race.close()
    raise CannotReach(" ".join(failures + [str(unopened(_text(one), error)) for one, error in race.failures]))


def _dial_one(
    address: Address, authkey: bytes, timeout_s: float, frame_bytes_max: int, tls: TlsFiles | None
) -> Connection:
    deadline = _clock() + timeout_s
    try:
        stream = None if tls is None else tls_stream(tls, address[0])
        connected = socket.create_connection(address, timeout_s)
    except (OSError, DistqError) as error:
        raise unopened(_text(address), error) from None
    set_options(connected)
    return _proved(Connection(connected, address, stream), authkey, frame_bytes_max, deadline)


def _proved(connection: Connection, authkey: bytes, frame_bytes_max: int, deadline: float) -> Connection:
    """Prove the key on a new connection, which is closed if that fails; raises as `dial` does."""
    try:
        connection.authenticate(authkey, frame_bytes_max, deadline)
    except (OSError, DistqError) as error:
        connection.close()
        raise unopened(_text(connection.address), error) from None
    return connection
