"""`distq.QueueManager`: the manager of the well-known recipe, with distq's master behind it.

from distq import QueueManager

QueueManager.register("get_work_queue")
manager = QueueManager(address=("", 50000), authkey=b"a long random key")
manager.connect()                                # to a master that runs already
manager.start()                                  # or bring one up that lives as long as this program
manager.get_server().serve_forever()             # or be one
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
"""How long an embedded master may take to listen."""
LOOK_S: Final = 0.02
KILL_S: Final = 5.0
"""How much longer than its drain a master may take to end."""
ANY_PORT: Final = ("127.0.0.1", 0)
GETTERS: Final = ("get_work_queue", "get_task_queue", "get_result_queue", "get_done_queue")


class CannotStart(DistqError):
    """An embedded master has ended before it listened."""

    code = "CANNOT_START"
    hint = "Its own message stands above, on standard error."


class EmbeddedMaster:
    """A master in a process of its own that ends with this one; as `get_server()` returns it."""

    def __init__(self, address: tuple[str, int], authkey: bytes, queues: Mapping[str, str], drain_s: float) -> None:
        self.address = _free_address(address)
        """Where it listens: a real port, also where 0 was asked for."""
        self._owner = os.getpid()
        self._drain_s = drain_s
        # A session of its own: Ctrl-C in the terminal is for this program, which then ends it in good order.
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
        """End the master; a second time does nothing."""
        self._finalizer()

    def join(self, timeout: Timeout = None) -> None:
        """Wait until the master has ended, at most `timeout` seconds."""
        try:
            self._process.wait(timeout_s(timeout))
        except subprocess.TimeoutExpired:
            pass

    def _hand_over(self, orders: Mapping[str, object]) -> None:
        # The pipe stays open: its end of file is how the master learns that this program has ended.
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pack(pickle.dumps(orders)))
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; that is said below

    def _wait_until_it_listens(self, authkey: bytes) -> None:
        host, port = self.address
        here = ({"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - read
        for _ in range(int(START_S / LOOK_S)):
            code = self._process.poll()
            if code is not None:
                raise CannotStart(f"The embedded master ended with exit code {code}.")
            try:
                dial([here], authkey, timeout_s=START_S).close()
            except (CannotReach, AuthenticationFailed):
                time.sleep(LOOK_S)
            else:
                return
        self.stop()
        raise CannotStart(f"The embedded master did not listen within {START_S:g} s.")


class QueueManager(BaseManager):
    """The recipe's manager; its queues are the master's.

    `start()` brings up a master that lives as long as this program, `connect()` uses one that runs. Leave the
    address out and it listens on a free port of 127.0.0.1.
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
        # The standard library takes plain tuples only, and named ones are what distq's settings give.
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
            """Where the master is; of an embedded one, once it has started."""

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

        `callable` is accepted and never called: the queues are the master's, which outlives this program's
        objects and never runs its code. A name other than the usual four gets a queue of its own in an
        embedded master; for one that runs elsewhere, name it in DISTQ_PLAIN_QUEUES.
        """
        super().register(typeid, None, proxytype, exposed, method_to_typeid, create_method)

    def get_server(self) -> Any:
        """A master of this program's own; `serve_forever()` waits for its end."""
        self._must_be_new()
        return self._embed()

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Bring up a master that lives as long as this program, or until `shutdown()`.

        `initializer` is accepted for the recipe's sake and not called: no code of this program runs in a master.

        Raises:
            OSError: the address is taken, or is not this machine's.
            CannotStart: the master has ended at once, for a reason that it says on standard error.
        """
        del initializer, initargs
        self._must_be_new()
        self._embedded = self._embed()
        self._address = self._embedded.address
        self._state.value = State.STARTED

    def shutdown(self) -> None:  # type: ignore[override] # the stubs name the object that it is there
        """End the master that `start()` brought up; one that runs elsewhere is left alone."""
        if self._embedded is not None:
            self._embedded.stop()
            self._embedded = None
            self._state.value = State.SHUTDOWN

    def join(self, timeout: Timeout = None) -> None:
        """Wait until the master that `start()` brought up has ended, at most `timeout` seconds."""
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
