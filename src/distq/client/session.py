"""A client's session with the master: what is on its way there, what is awaited, and the two threads between.

Submits made in a loop travel in batches without anybody waiting for a clock: while one batch is under way the
next gathers. A lone submit leaves at once.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from distq.client.future import TaskFuture, settle_all
from distq.client.link import Link, Where, is_passing
from distq.client.outbox import Envelope, Outbox, Sending
from distq.core.errors import DistqError, PayloadTooLarge, QueueFull
from distq.net.dial import CannotReach, Connection
from distq.settings import Settings
from distq.tasks.failure import TaskLost
from distq.wire.errors import RemoteRefusal

RESULTS_WAIT_S: Final = 20.0
"""How long one call for results waits at the master."""
WATCHED_MAX: Final = 5_000
"""So many tasks a restarted master is asked about in one call."""
ENDED_S: Final = 1.0
"""How long `shutdown` waits for the threads, which have nothing left to do."""

Row = tuple[int, int, bytes | None, list[str] | None]
"""Key, state, outcome, causes: how the master tells of a task's end."""
Ended = tuple[TaskFuture[Any], int, bytes | None, list[str] | None]
_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class RefusedSubmit(DistqError):
    """The master did not take the task; `code` says why."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc] # one word of the master's, not of this class


class Session:
    """What a client has with its master, for many threads; its own two begin with the first task."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._payload_bytes_max = settings.payload_bytes_max
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._outbox = Outbox()
        self._awaited: dict[int, TaskFuture[Any]] = {}
        self._early: dict[int, tuple[int, bytes | None, list[str] | None]] = {}
        """Outcomes that came before the answer to their submit."""
        self._epoch: int | None = None
        """Which master's keys are known to be of use, and ..."""
        self._durable = True
        """... whether those of the masters before it are."""
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._wanted = threading.Event()
        """Set by a submit that found the door closed (a wrong key): it is to be tried again."""
        self._expected = threading.Event()
        """Set when there are results to wait for."""
        where = Where(
            addresses=tuple((one.host, one.port) for one in settings.address),
            authkey=settings.authkeys[0],
            session=secrets.token_hex(16),
            name=f"{socket.gethostname()}-{os.getpid()}",
            frame_bytes_max=settings.frame_bytes_max,
            reconnect_max_s=settings.reconnect_max_s,
        )
        self._submits = Link(where, self._greeted)
        self._results = Link(where, self._resumed)
        self._number = 0
        _sessions.add(self)

    # -- what the client calls -----------------------------------------------------------------

    def send(self, envelope: Envelope, body: bytes) -> TaskFuture[Any]:
        """Have a task sent; blocks and raises as `Client.submit` says."""
        if len(body) > self._payload_bytes_max:
            raise PayloadTooLarge(
                f"the arguments have {len(body):,} bytes, and {self._payload_bytes_max:,} are allowed."
            )
        outbox = self._outbox
        if self._closing or not self._submits.up or outbox.full:
            self._wait_for_master()
        future: TaskFuture[Any] = TaskFuture()
        outbox.put(Sending(envelope, body, future))
        if outbox.closed:
            self._fail_unsent()
        return future

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until every task was accepted or refused; False if the time is over first."""
        return self._outbox.wait_until_empty(timeout_s)

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """As `Client.shutdown`."""
        with self._lock:
            self._closing = True
        if cancel:
            for sending in self._outbox.take_all():
                sending.future.withdraw()
        if wait:
            with self._idle:
                self._idle.wait_for(self._is_idle)
        self._close_if_idle()
        if wait:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join(ENDED_S)

    # -- inside: submits -----------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if self._threads:
                return
            self._threads = [
                threading.Thread(target=_run, args=(loop, link), name=f"distq-{name}", daemon=True)
                for name, loop, link in (
                    ("submits", self._send_batches, self._submits),
                    ("results", self._collect, self._results),
                )
            ]
            for thread in self._threads:
                thread.start()

    def _wait_for_master(self) -> None:
        """Block until there is room and a master, for as long as the settings allow; then raise."""
        self._start()
        link, outbox = self._submits, self._outbox
        wait_s = self._settings.connect_wait_s
        deadline = _now() + wait_s
        seen = link.tries + link.trying  # an attempt that is under way may have found what is changed by now
        self._wanted.set()
        while True:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if link.up:
                deadline = _now() + wait_s
                if outbox.wait_for_room(0.1):
                    return
                continue
            failure = link.failure
            if failure is not None and link.tries > seen and not is_passing(failure):
                raise failure
            if _now() >= deadline:
                raise failure or CannotReach(f"no master has answered within {wait_s:g} s.")
            link.wait_for_try(link.tries, min(deadline - _now(), 0.1))

    def _send_batches(self) -> None:
        """The thread that submits."""
        link = self._submits
        while not link.closed:
            batch: Sequence[Sending] = ()
            try:
                link.reach()
                taken = self._outbox.next_batch()
                if taken is None:
                    return
                batch = taken
                self._deliver(batch, self._settings.connect_wait_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody shall wait for ever
                self._refuse(batch, error)
                if link.closed:
                    return
                if not link.up:  # a wrong key is not tried again and again, but when somebody asks for it
                    self._fail_unsent(error)
                    self._wanted.wait()
            self._wanted.clear()

    def _deliver(self, batch: Sequence[Sending], wait_s: float) -> None:
        """Submit a batch. What is refused together is submitted by halves: only what must be refused is."""
        begun = _now()
        self._number += 1
        args = (self._number, *_packed(batch), wait_s)
        try:
            accepted = self._submits.call("submit", args, wait_s)
        except RemoteRefusal as error:
            accepted = (False, error.code, str(error))
        if accepted[0]:
            self._accept(batch, accepted[1])
            return
        refusal = RefusedSubmit(accepted[1], accepted[2])
        if len(batch) == 1:
            self._refuse(batch, refusal)
        else:
            if refusal.code == QueueFull.code and _now() - begun >= wait_s / 2:
                wait_s = 0.0  # it has waited for room already
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                try:
                    self._deliver(half, wait_s)
                except DistqError as error:
                    self._refuse(half, error)

    def _accept(self, batch: Sequence[Sending], first: int) -> None:
        ended: list[Ended] = []
        with self._lock:
            for key, sending in enumerate(batch, first):
                future = sending.future
                future.key = key
                self._awaited[key] = future
            if self._early:
                here = [key for key in range(first, first + len(batch)) if key in self._early]
                ended += [(self._awaited.pop(key), *self._early.pop(key)) for key in here]
                self._early.clear()  # no other submit is under way
            stale = first >> 40 != self._epoch
        self._outbox.sent(len(batch))
        if not self._expected.is_set():
            self._expected.set()
        self._settle(ended)
        if self._outbox.closed:
            self.close()
        elif stale:
            self._ask_again(range(first, first + len(batch)))

    def _ask_again(self, keys: Sequence[int]) -> None:
        """The answer to a submit is of a master that has been restarted meanwhile."""
        if not self._durable:
            self._forget_others()
            return
        for at in range(0, len(keys), WATCHED_MAX):
            self._hear(self._submits.call("watch", (list(keys[at : at + WATCHED_MAX]),)))

    def _refuse(self, batch: Sequence[Sending], error: Exception) -> None:
        unanswered = [sending.future for sending in batch if sending.future.key is None and not sending.future.done()]
        self._outbox.sent(len(unanswered))
        for future in unanswered:
            future.fail(error)
        self._settle(())

    def _fail_unsent(self, error: Exception | None = None) -> None:
        for sending in self._outbox.take_all():
            sending.future.fail(error or CannotReach("the client was closed before the task was sent."))
        self._settle(())

    # -- inside: results -----------------------------------------------------------------------

    def _collect(self) -> None:
        """The thread that fetches results."""
        number = 0
        while not self._results.closed:
            self._expected.clear()
            try:
                number, rows = self._results.call("results", (number, RESULTS_WAIT_S), RESULTS_WAIT_S)
                self._hear(rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody shall wait for ever
                if self._results.closed:
                    return
                self._lose(error)
                self._results.pause(0.1)
                if not self._awaited:
                    self._expected.wait()

    def _hear(self, rows: Iterable[Row]) -> None:
        """Settle the futures of tasks that have ended."""
        known: list[Ended] = []
        with self._lock:
            awaited = self._awaited
            for key, state, body, causes in rows:
                future = awaited.pop(key, None)
                if future is not None:
                    known.append((future, state, body, causes))
                elif self._outbox:
                    self._early[key] = (state, body, causes)
        self._settle(known)

    def _settle(self, rows: Sequence[Ended]) -> None:
        settle_all(rows)
        if self._closing:
            self._close_if_idle()

    def _greeted(self, greeting: Mapping[str, Any], _connection: Connection) -> None:
        """A master has said who it is: one that keeps nothing knows nothing of what the one before had accepted."""
        with self._lock:
            self._epoch = greeting["epoch"]
            self._durable = bool(greeting.get("durable"))
        if not self._durable:
            self._forget_others()

    def _resumed(self, greeting: Mapping[str, Any], connection: Connection) -> None:
        """The same, where results come from: a restarted master that has kept the tasks is asked about them."""
        with self._lock:
            keys = [key for key in self._awaited if key >> 40 != greeting["epoch"]]
        self._greeted(greeting, connection)
        if self._durable:
            for at in range(0, len(keys), WATCHED_MAX):
                rows = connection.call("broker", "watch", (keys[at : at + WATCHED_MAX],), timeout_s=RESULTS_WAIT_S)
                self._hear(rows)  # type: ignore[arg-type] # as the master says it

    def _forget_others(self) -> None:
        with self._lock:
            lost = [key for key in self._awaited if key >> 40 != self._epoch]
            futures = [self._awaited.pop(key) for key in lost]
        for future in futures:
            future.fail(TaskLost(f"task {future.task_id}: the master that had it was restarted without a store."))
        self._settle(())

    def _lose(self, error: Exception) -> None:
        """Results cannot be had: nobody shall wait for them."""
        with self._lock:
            futures = list(self._awaited.values())
            self._awaited.clear()
        for future in futures:
            future.fail(error)
        self._settle(())

    # -- inside: the end -----------------------------------------------------------------------

    def _is_idle(self) -> bool:
        return not self._awaited and not self._outbox

    def _close_if_idle(self) -> None:
        with self._idle:
            if not self._is_idle():
                return
            self._idle.notify_all()
        self.close()

    def close(self) -> None:
        """End it now, whatever is still on its way; futures that nobody will settle fail."""
        self._closing = True
        self._outbox.close()
        self._submits.close()
        self._results.close()
        self._wanted.set()
        self._expected.set()
        _sessions.discard(self)
        if self._outbox:
            self._fail_unsent()
        if self._awaited:
            self._lose(CannotReach("the client was closed before the task's result had come."))

    def disown(self) -> None:
        """Let go of what a fork has copied: it is the parent's."""
        self._submits.release()
        self._results.release()
        _sessions.discard(self)

    def end(self) -> None:
        """The interpreter ends: what was submitted shall be accepted."""
        if not self._outbox.wait_until_empty(self._settings.connect_wait_s):
            logging.getLogger("distq").warning("The program ends, and no master has accepted its last tasks.")
        self.close()


def _run(loop: Callable[[], None], link: Link) -> None:
    try:
        loop()
    finally:
        link.release()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
"""Those whose threads still run, and some more."""


@atexit.register
def _flush_all() -> None:
    for session in list(_sessions):
        session.end()


def _packed(batch: Sequence[Sending]) -> tuple[list[Envelope], list[tuple[int, int]], list[bytes]]:
    """A batch as `submit` sends it: envelopes once each, runs of (envelope, how many), bodies."""
    envelopes: dict[Envelope, int] = {}
    runs: list[tuple[int, int]] = []
    for envelope, group in itertools.groupby(batch, key=attrgetter("envelope")):
        index = envelopes.setdefault(envelope, len(envelopes))
        runs.append((index, sum(1 for _ in group)))
    return list(envelopes), runs, [sending.body for sending in batch]
