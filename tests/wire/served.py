"""A server of two queues that passes bytes through `ServerReader`: the smallest one for a standard-library client."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.wire.reading import all_events

from distq.wire import splice
from distq.wire.errors import BadCall
from distq.wire.framing import pack
from distq.wire.inert import InertCall
from distq.wire.messages import created, object_of, raised, refused, returned
from distq.wire.server_reader import Authenticated, Closed, PeerRefused, Send, ServerReader

METHODS = ("put", "put_nowait", "get", "get_nowait", "qsize", "empty", "full")
IDENTS = {"get_work_queue": "work", "get_result_queue": "result"}
NONCE = bytes(range(40))
FRAME_BYTES_MAX = 64 * 1024 * 1024


class Served:
    """Two queues of pickles, and the results of the handshakes."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.queues: dict[str, queue.Queue[bytes]] = {ident: queue.Queue() for ident in IDENTS.values()}
        self.closed: list[Closed] = []
        self.authenticated = 0

    def answer(self, call: InertCall) -> bytes:
        """Return the packed answer to one call, as the master would make it."""
        if call.ident is None:
            return pack(self._manage(call))
        try:
            return self._use(self.queues[object_of(call.ident)[0]], call)
        except queue.Empty as exc:
            return pack(raised(exc))
        except BadCall as exc:
            return pack(refused(str(exc)))

    def _manage(self, call: InertCall) -> bytes:
        match call.method:
            case "create":
                return created(IDENTS[call.args[0]], METHODS)
            case "get_methods" if object_of(call.args[0].ident)[0] in self.queues:
                return returned(METHODS)
            case "accept_connection" | "dummy" | "incref" | "decref":
                return returned(None)
            case _:
                return refused(f"{call.method} is not served here.")

    def _use(self, stored: "queue.Queue[bytes]", call: InertCall) -> bytes:
        match call.method:
            case "put" | "put_nowait":
                stored.put(splice.item(call))
                return pack(returned(None))
            case "get":
                return b"".join(splice.packed_item(stored.get(timeout=call.kwds.get("timeout"))))
            case "get_nowait":
                return b"".join(splice.packed_item(stored.get_nowait()))
            case "qsize" | "empty":
                return pack(returned(getattr(stored, call.method)()))
            case _:
                return pack(refused(f"{call.method} is no method of a queue."))

    def serve(self, connection: socket.socket) -> None:
        """Pass one connection's bytes through a session until it ends."""
        session = ServerReader(self.keys, NONCE, FRAME_BYTES_MAX)
        # A peer may disconnect at any time.
        with connection, suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(session.start())
            while data := connection.recv(65536):
                for event in all_events(session, data):
                    match event:
                        case Send(reply) | PeerRefused(reply):
                            connection.sendall(reply)
                        case InertCall():
                            connection.sendall(self.answer(event))
                        case Authenticated():
                            self.authenticated += 1
                        case Closed():
                            connection.sendall(event.refusal)
                            self.closed.append(event)
                            return


@contextmanager
def serving(keys: list[bytes]) -> Iterator[tuple[int, Served]]:
    """Serve on a free port in the background; yield the port and the queues."""
    served = Served(keys)
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        # Ends when the listener is shut down.
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=served.serve, args=(connection,)))
                threads[-1].start()

    accepter = threading.Thread(target=accept)
    accepter.start()
    try:
        yield listener.getsockname()[1], served
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepter.join()
        listener.close()
        for thread in threads:
            thread.join()
