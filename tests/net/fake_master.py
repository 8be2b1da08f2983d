"""A fake master: it sends real bytes through `ServerReader`, and the test decides its answers."""

import pickle
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.wire.reading import all_events

from distq.wire.errors import RemoteRefusal
from distq.wire.framing import SplitFrame, pack
from distq.wire.inert import InertCall
from distq.wire.messages import raised, refused, returned
from distq.wire.server_reader import Authenticated, Closed, PeerRefused, Send, ServerReader

KEY = b"a key of the tests, long enough"
NONCE = bytes(range(32))
FRAME_BYTES_MAX = 64 << 20
HANG_UP = object()
"""An answer: close the connection instead."""

ReceivedCall = tuple[str | None, str, tuple[Any, ...]]
Answer = Callable[[ReceivedCall], object]


class FakeMaster:
    """Listens on a free port and passes every call to `answer`, which returns a value or HANG_UP, or raises."""

    def __init__(self, answer: Answer, keys: list[bytes], port: int = 0) -> None:
        self.calls: queue.Queue[ReceivedCall] = queue.Queue()
        """All calls but `hello`, in the order of their arrival."""
        self.split: list[str] = []
        """The methods of the calls that have come in split frames."""
        self.closed: queue.Queue[Closed] = queue.Queue()
        self._answer = answer
        self._keys = keys
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = ("127.0.0.1", int(self._listener.getsockname()[1]))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def drop(self) -> None:
        """Break every connection that is open now."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Break every connection and accept no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        session = ServerReader(self._keys, NONCE, FRAME_BYTES_MAX)
        with connection, suppress(ConnectionError):
            connection.sendall(session.start())
            while data := connection.recv(65536):
                for event in all_events(session, data):
                    match event:
                        case Send(reply) | PeerRefused(reply):
                            connection.sendall(reply)
                        case InertCall():
                            answer = self._reply(event)
                            if answer is None:
                                return
                            connection.sendall(answer)
                        case Authenticated():
                            pass
                        case Closed():
                            connection.sendall(event.refusal)
                            self.closed.put(event)
                            return

    def _reply(self, call: InertCall) -> bytes | None:
        if isinstance(call.frame, SplitFrame):
            self.split.append(call.method)
            ident, method, args, _ = pickle.loads(call.frame, buffers=call.frame.parts)
        else:
            ident, method, args, _ = pickle.loads(call.frame)
        received = (ident, method, args)
        if method != "hello":
            self.calls.put(received)
        try:
            value = self._answer(received)
        except RemoteRefusal as error:
            return pack(refused(str(error)))
        except Exception as error:  # noqa: BLE001 - it is the test's way to raise at the other end
            return pack(raised(error))
        return None if value is HANG_UP else pack(returned(value))


@contextmanager
def fake_master(answer: Answer, keys: list[bytes] | None = None, port: int = 0) -> Iterator[FakeMaster]:
    """A fake master for the duration of a test."""
    master = FakeMaster(answer, keys or [KEY], port)
    try:
        yield master
    finally:
        master.stop()
