"""Fake masters for the client's tests: they accept submits, and each test sets the outcome of its tasks."""

import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.net.fake_master import HANG_UP, FakeMaster, ReceivedCall, fake_master
from tests.waiting import SOON_S

from distq import Client
from distq.core.states import SUCCEEDED
from distq.protocol.results import TaskEnd
from distq.tasks.codec import PROTOCOL
from distq.wire.errors import RemoteRefusal

KEY = b"a key of the client's tests"

Outcome = Callable[[Any], tuple[int, bytes | None, list[str] | None] | None]
"""Returns a task's outcome for its arguments; None keeps the task running."""


def doubled(call: Any) -> tuple[int, bytes | None, list[str] | None]:
    """Return a success with twice the first argument."""
    if len(call) == 1:
        return SUCCEEDED, pickle.dumps([2 * row[0] for row in call[0]], PROTOCOL), None
    return SUCCEEDED, pickle.dumps(2 * call[0][0], PROTOCOL), None


def never(_call: Any) -> None:
    """Keep the task running."""


class MasterState:
    """The state of a fake master, which answers `hello`, `submit`, `results` and `watch` as a real one does."""

    def __init__(self, outcome: Outcome = doubled, *, epoch: int = 1, durable: bool = False) -> None:
        self.outcome = outcome
        self.epoch = epoch
        self.durable = durable
        self.submits: list[tuple[Any, ...]] = []
        self.cancels: list[tuple[list[int], bool]] = []
        """The arguments of each cancel call, in order."""
        self.bodies: list[bytes] = []
        """The accepted payloads, in order."""
        self.refuse: Callable[[list[Any], list[bytes]], tuple[bool, str, str] | None] = lambda _envelopes, _bodies: None
        self.gate = threading.Event()
        """The fake master answers no submit before this is set."""
        self.gate.set()
        self.cancel_gate = threading.Event()
        """The fake master answers no cancel before this is set."""
        self.cancel_gate.set()
        self.running: set[int] = set()
        """The running tasks, for a client that asks about them."""
        self.stuck = ""
        """The reason why the first task of a client's question waits."""
        self.progress: tuple[float, str] | None = None
        """What every task reports."""
        self.goodbyes = 0
        self.running_calls = 0
        self.hang_up: dict[str, int] = {}
        """The number of calls of each name that are done and whose reply is not sent."""
        self.results_refused = 0
        """The number of calls for results that are refused with a sentence."""
        self.greeting: Mapping[str, Any] = {}
        self.known: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        self._changed = threading.Condition()
        self._rows: list[TaskEnd] = []
        self._sent: list[TaskEnd] = []
        self._number = 0
        self._next = 1
        self._stopped = False

    def __call__(self, call: ReceivedCall) -> object:
        """Answer one call."""
        _, method, args = call
        value = getattr(self, f"_{method}")(*args)
        if self.hang_up.get(method, 0) > 0:
            self.hang_up[method] -= 1
            return HANG_UP
        return value

    def end(self, key: int, state: int, body: bytes | None = None, causes: list[str] | None = None) -> None:
        """End a task."""
        with self._changed:
            self._rows.append((key, state, body, causes))
            self._changed.notify_all()

    def stop(self) -> None:
        """Release every waiting call."""
        self.gate.set()
        self.cancel_gate.set()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _hello(self, info: Mapping[str, Any]) -> object:
        assert info["role"] in ("client", "cli")
        return {"epoch": self.epoch, "durable": self.durable, "goodbye": True, **self.greeting}

    def _submit(self, number: int, envelopes: list[Any], runs: Any, bodies: list[bytes], wait_s: float) -> object:
        self.submits.append((number, envelopes, runs, bodies, wait_s))
        assert self.gate.wait(SOON_S)
        if number in self._answers:
            return self._answers[number]
        refused = self.refuse(envelopes, bodies)
        if refused is not None:
            return refused
        first = self.epoch << 40 | self._next
        self._next += len(bodies)
        self.bodies += bodies
        for key, body in enumerate(bodies, first):
            self.known[key] = body
            ended = self.outcome(pickle.loads(body)) if body[:1] == b"\x80" else None
            if ended is not None:
                self.end(key, *ended)
        self._answers[number] = (True, first)
        return self._answers[number]

    def _cancel(self, keys: list[int], running: bool) -> object:
        self.cancels.append((keys, running))
        assert self.cancel_gate.wait(SOON_S)
        return {"done": len(keys), "running": [], "over": 0}

    def _results(self, number: int, wait_s: float) -> object:
        if self.results_refused:
            self.results_refused -= 1
            raise RemoteRefusal("not now.")
        with self._changed:
            if self._sent and number < self._number:
                return self._number, self._sent
            self._changed.wait_for(lambda: self._rows or self._stopped, wait_s)
            self._sent, self._rows = self._rows, []
            self._number += bool(self._sent)
            return self._number, self._sent

    def _running(self, keys: list[int]) -> object:
        self.running_calls += 1
        return [key for key in keys if key in self.running]

    def _stuck(self, keys: list[int]) -> object:
        return {key: self.stuck for key in keys[:1] if self.stuck}

    def _admin(self, action: str, _asked: Mapping[str, Any]) -> object:
        assert action == "show"
        return {"progress": self.progress}

    def _goodbye(self) -> None:
        self.goodbyes += 1

    def _watch(self, keys: list[int]) -> object:
        return [(key, 7, None, None) for key in keys if key not in self.known]


@contextmanager
def serving(state: MasterState, keys: list[bytes] | None = None, port: int = 0) -> Iterator[FakeMaster]:
    """Serve a master with this state."""
    with fake_master(state, keys or [KEY], port=port) as master:
        try:
            yield master
        finally:
            state.stop()


@contextmanager
def client_of(master: FakeMaster, key: bytes = KEY) -> Iterator[Client]:
    """Yield a client and abandon it at the end, even with submits in flight."""
    client = Client(f"127.0.0.1:{master.address[1]}", key)
    try:
        yield client
    finally:
        client.abandon()
        for thread in client._session._threads:
            thread.join(SOON_S)
