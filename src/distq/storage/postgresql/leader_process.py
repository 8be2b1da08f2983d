"""Whether the process of a leader has ended, as its own machine says.

That the database has no session of a leader proves nothing: an operator, a connection limit, or a network between the
two can end both sessions of a leader that goes on answering until its lease is over.
"""

import socket
import threading
from queue import Empty, SimpleQueue
from typing import Final

CONNECT_S: Final = 0.5
"""Maximum seconds to find a leader's machine and to connect: silence proves nothing, and the lease is waited for."""
PORT_MAX: Final = 65535


def has_ended(address: str) -> bool:
    """Whether the machine at `host:port` refuses connections: a master listens for the life of its process.

    A process that is frozen, a machine that is silent and a name without an address leave the question open.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > PORT_MAX:
        return False
    answers: SimpleQueue[bool] = SimpleQueue()

    def ask() -> None:
        answers.put(_refuses(host.strip("[]"), int(port)))

    # The search for a name has no time limit of its own.
    threading.Thread(target=ask, name="distq-leader-process", daemon=True).start()
    try:
        return answers.get(timeout=CONNECT_S)
    except Empty:
        return False


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_S, all_errors=True).close()
    except ExceptionGroup as found:
        return all(isinstance(error, ConnectionRefusedError) for error in found.exceptions)
    except (OSError, UnicodeError):
        return False
    return False
