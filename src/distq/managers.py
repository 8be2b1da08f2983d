"""`distq.QueueManager`, which has the interface of the standard library's queue manager and uses distq's master.

from distq import QueueManager

QueueManager.register("get_work_queue")
manager = QueueManager(address=("", 50000), authkey=b"a long random key")
manager.connect()                                # connect to a master that runs already
manager.start()                                  # or start a master that ends with this program
manager.get_server().serve_forever()             # or start a master and wait until it ends
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from multiprocessing import ProcessError
from multiprocessing.managers import BaseManager, State  # type: ignore[attr-defined] # not in its stubs
from typing import TYPE_CHECKING, Any, Final

from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.net.dial import CannotReach, dial
from distq.wire.errors import AuthenticationFailed
from distq.wire.framing import pack

if TYPE_CHECKING:
    from queue import Queue
    from typing import Self

START_S: Final = 20.0
"""Maximum seconds until an embedded master listens; after that the start fails."""
POLL_S: Final = 0.02
"""Seconds between two attempts to connect to an embedded master that is starting."""
KILL_S: Final = 5.0
"""Maximum seconds beyond its drain time that a master may take to end, before it is killed."""
ANY_PORT: Final = ("127.0.0.1", 0)
GETTERS: Final = ("get_work_queue", "get_task_queue", "get_result_queue", "get_done_queue")


class CannotStart(DistqError):
    """An embedded master has ended before it listened."""

    code = "CANNOT_START"
    hint = "Its own message stands above, on standard error."


class EmbeddedMaster:
    """A master in a separate process that ends with this process; `get_server()` returns it."""

    def __init__(self, address: tuple[str, int], authkey: bytes, queues: Mapping[str, str], drain_s: float) -> None:
        self.address = _free_address(address)
        """The address on which the master listens, with the real port if port 0 was given."""
        self._owner = os.getpid()
        self._drain_s = drain_s
        # In a new session: Ctrl-C in the terminal reaches this program only, which then stops the master.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "distq.cli.embedded"], stdin=subprocess.PIPE, start_new_session=True
        )
        self._finalizer = weakref.finalize(self, _stop, self._process, self._owner, drain_s)
        self._hand_over({"authkey": bytes(authkey), "bind": self.address, "queues": dict(queues), "drain_s": drain_s})
        self._wait_until_it_listens(bytes(authkey))

    def serve_forever(self) -> None:
        """Wait until the master ends, or end it on Ctrl-C; leaves by SystemExit, as the standard library does."""
        code = 0
        try:
            code = self._process.wait()
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()
        sys.exit(code)

    def stop(self) -> None:
        """End the master; a second call does nothing."""
        self._finalizer()

    def join(self, timeout: Timeout = None) -> None:
        """Wait until the master has ended, at most `timeout` seconds."""
        try:
            self._process.wait(timeout_s(timeout))
        except subprocess.TimeoutExpired:
            pass

    def _hand_over(self, orders: Mapping[str, object]) -> None:
        # The pipe stays open: the master reads its end of file when this program has ended.
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pack(pickle.dumps(orders)))
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the master has ended; `_wait_until_it_listens` raises that

    def _wait_until_it_listens(self, authkey: bytes) -> None:
        host, port = self.address
        here = ({"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - read
        for _ in range(int(START_S / POLL_S)):
            code = self._process.poll()
            if code is not None:
                raise CannotStart(f"The embedded master ended with exit code {code}.")
            try:
                dial([here], authkey, timeout_s=START_S).close()
            except (CannotReach, AuthenticationFailed):
                time.sleep(POLL_S)
            else:
                return
        self.stop()
        raise CannotStart(f"The embedded master did not listen within {START_S:g} s.")


class QueueManager(BaseManager):
    """A manager of queues with the standard library's interface; the master holds the queues.

    `start()` starts a master that ends with this program; `connect()` uses a master that runs already. Without an
    address the master listens on a free port of 127.0.0.1.
    """

    def __init__(
        self,
        address: tuple[str, int] | None = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float | timedelta = 1.0,
    ) -> None:
        if serializer != "pickle":
            raise ValueError(f"distq speaks pickle, not {serializer!r}; leave `serializer` out")
        if address is not None and not (isinstance(address, tuple) and len(address) == 2):
            raise ValueError(f"distq listens on TCP: the address must be (host, port), not {address!r}")
        if address is not None and not (isinstance(address[0], str) and type(address[1]) is int):
            raise TypeError(f"the address must be (host, port), a text and a whole number, not {address!r}")
        if authkey is not None and not isinstance(authkey, bytes | bytearray | memoryview):
            # The standard library would make a key of an integer (as many zeros) or of a path (its text).
            raise TypeError(f"authkey is the key as bytes, not a {type(authkey).__name__}")
        # The standard library takes only plain tuples; distq's settings have named tuples.
        super().__init__((address[0], address[1]) if address else ANY_PORT, authkey, serializer, ctx)
        self._drain_s = timeout_s(shutdown_timeout) or 0.0
        self._embedded: EmbeddedMaster | None = None

    if TYPE_CHECKING:
        _address: tuple[str, int]
        _authkey: bytes
        _state: Any
        _registry: Mapping[str, object]

        @property
        def address(self) -> tuple[str, int]:
            """The address of the master; for an embedded master, after it has started."""

        def get_work_queue(self) -> Queue[Any]:
            """The queue of work."""

        def get_result_queue(self) -> Queue[Any]:
            """The queue of results."""

        def get_task_queue(self) -> Queue[Any]:
            """The queue of work, by the other name that recipes use."""

        def get_done_queue(self) -> Queue[Any]:
            """The queue of results, by the other name that recipes use."""

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., object] | None = None,  # noqa: A002, ARG003 - the standard library's name for it
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: Any = None,
        create_method: bool = True,
    ) -> None:
        """Make a queue known by the name of its getter.

        `callable` is accepted and never called: the master holds the queues; it outlives this program's objects and
        never runs its code. A name other than the usual four gets a queue of its own in an embedded master; for a
        master that runs elsewhere, list the name in DISTQ_PLAIN_QUEUES.
        """
        super().register(typeid, None, proxytype, exposed, method_to_typeid, create_method)

    def get_server(self) -> Any:
        """Start a master for this program; its `serve_forever()` waits until it ends."""
        self._must_be_new()
        return self._embed()

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Start a master that ends with this program or at `shutdown()`.

        `initializer` is accepted for compatibility and never called: no code of this program runs in a master.

        Raises:
            OSError: the address is taken, or does not belong to this machine.
            CannotStart: the master ended before it listened, and wrote the reason to standard error; or it did not
                listen within 20 s.
        """
        del initializer, initargs
        self._must_be_new()
        self._embedded = self._embed()
        self._address = self._embedded.address
        self._state.value = State.STARTED

    def shutdown(self) -> None:  # type: ignore[override] # in the stubs it is an attribute
        """End the master that `start()` started; a master that runs elsewhere is not changed."""
        if self._embedded is not None:
            self._embedded.stop()
            self._embedded = None
            self._state.value = State.SHUTDOWN

    def join(self, timeout: Timeout = None) -> None:
        """Wait until the master that `start()` started has ended, at most `timeout` seconds."""
        if self._embedded is not None:
            self._embedded.join(timeout)

    def __enter__(self) -> Self:
        if self._state.value == State.INITIAL:
            self.start()
        return self

    def _must_be_new(self) -> None:
        if self._state.value != State.INITIAL:
            raise ProcessError("This manager has been started or connected already.")

    def _embed(self) -> EmbeddedMaster:
        queues = {name: _queue_of(name) for name in self._registry if name not in GETTERS}
        return EmbeddedMaster(self._address, self._authkey, queues, self._drain_s)


for _name in GETTERS:
    QueueManager.register(_name)


def _queue_of(getter: str) -> str:
    return getter.removeprefix("get_").removesuffix("_queue") or getter


def _free_address(address: tuple[str, int]) -> tuple[str, int]:
    """The address with a real port; raises OSError if it is taken, as the standard library does."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return host, probe.getsockname()[1]


def _stop(process: subprocess.Popen[bytes], owner: int, drain_s: float) -> None:
    if os.getpid() != owner:
        return  # a forked child of the program: the master is not its own
    process.terminate()
    try:
        process.wait(drain_s + KILL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
