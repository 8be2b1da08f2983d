"""How a client's tasks reach the master: at once from the thread that submits, or in batches from one of its own.

Submits made in a loop travel in batches without anybody waiting for a clock: while one is under way the next
gathers. A lone submit is sent by its caller, and its answer is read by whoever comes first: the one that has its
result in hand, or the thread here, which looks for it a moment later. To wake a thread for each of the two would
cost more than the master does for the task.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.client.link import CALL_S, Link, is_passing
from distq.client.outbox import Envelope, Outbox, Sending
from distq.core.errors import DistqError, QueueFull, TaskExists
from distq.core.task import text_of
from distq.net.dial import CannotReach
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.awaited import Awaited
    from distq.net.dial import Connection

HEAR_S: Final = 1.0
"""How long who has a result in hand waits for the thread here, if that one reads the answer."""
CATCH_UP_S: Final = 0.25
"""How long who cancels what was sent just now waits for the word that it was taken."""
SLICE_S: Final = 1.0
"""So long who waits for room keeps the connection for himself."""
LOOK_S: Final = 0.005
"""How soon the thread looks for the answer to what was sent at once."""
AT_ONCE_BYTES_MAX: Final = 64 * 1024
"""What fits a socket's buffer: sending it never waits for the master."""

_now = time.monotonic  # noqa: TID251 - the edge: how long a submit has waited for room


class RefusedSubmit(DistqError):
    """The master did not take the task; `code` says why."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc] # one word of the master's, not of this class


class RefusedFull(RefusedSubmit, QueueFull):
    """The queue is full."""

    hint = ""


class RefusedUnique(RefusedSubmit, TaskExists):
    """Another task has the unique key: `task_id`, which goes on."""

    hint = ""

    def __init__(self, other: int) -> None:
        self.task_id = text_of(other)
        super().__init__(TaskExists.code, f"task {self.task_id} has the unique key. {TaskExists.hint}")


class Asked(NamedTuple):
    """A submit that its caller has sent, and whose answer nobody has read."""

    connection: Connection
    batch: list[Sending]
    args: tuple[object, ...]


class Submits:
    """One client's submits, each taken once however often it is sent."""

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        awaited: Awaited,
        wait_s: float,
        accepted: Callable[[int, int], None],
        settled: Callable[[], None],
    ) -> None:
        self.link = link
        self.wanted = threading.Event()
        """Set by a submit that found the door closed (a wrong key): it is to be tried again."""
        self._outbox = outbox
        self._awaited = awaited
        self._wait_s = wait_s
        self._accepted = accepted
        self._settled = settled
        self._number = 0
        self._speaking = threading.Lock()
        """Held by who uses the connection."""
        self._asked: Asked | None = None
        self._looked_at = 0
        self._asleep = True
        """Whether the thread waits without looking."""

    # -- by the caller -------------------------------------------------------------------------

    def send_at_once(self, sending: Sending) -> bool:
        """Send the only task there is; False if it must go through the outbox."""
        if len(sending.body) > AT_ONCE_BYTES_MAX or not self._speaking.acquire(blocking=False):
            return False
        try:
            connection = self.link.connection
            if connection is None or self._outbox or not self._outbox.take_directly(sending):
                return False
            self._number += 1
            args = (self._number, [sending.manner.envelope], [sending.run(0, 1)], [sending.body], self._wait_s)
            self._asked = Asked(connection, [sending], args)
            if self._asleep:
                self._outbox.rouse()
            _or_close(connection, lambda: connection.ask("broker", "submit", args, timeout_s=CALL_S))
        finally:
            self._speaking.release()
        return True

    def send_now(self, batch: Sequence[Sending], wait_s: float) -> None:
        """Send tasks, all or none, and wait until they were accepted; for so long while a queue of theirs is full.

        Only the last one's end is awaited. Raises QueueFull if it is still full then, and what else the master refuses
        them for.
        """
        deadline = _now() + wait_s
        while not self.link.closed:
            slice_s = min(max(deadline - _now(), 0.0), SLICE_S)
            with self._speaking:  # not for the whole time: others of this client submit to queues that have room
                self._finish_asked()
                self._number += 1
                args = (self._number, *_packed(batch), slice_s)
                answer = self._insisted(
                    lambda connection: connection.call("broker", "submit", args, timeout_s=slice_s + CALL_S)  # noqa: B023
                )
                if answer[0]:
                    _, first, *taken = answer
                    self._outbox.take_directly(batch[-1])
                    self._taken(batch[-1:], (True, first + len(batch) - 1, *taken))
                    return
            if answer[1] != QueueFull.code or _now() >= deadline:
                raise _refusal(answer)
        raise CannotReach("the client was closed before the task was accepted.")

    def watch(self, keys: Sequence[int]) -> None:
        """Have the ends of tasks told that are at the master already."""
        with self._speaking:
            self.ask_about(keys)

    def ask_about(self, keys: Sequence[int]) -> None:
        """The same, for who holds the connection."""
        self._awaited.ask_about(keys, lambda some: self.link.call("watch", (some,)))

    def hear_asked(self) -> None:
        """Read the answer to what was sent at once, unless it was read already or cannot be had soon."""
        if self._asked is None or not self._speaking.acquire(timeout=HEAR_S):
            return
        try:
            asked = self._asked
            if asked is None:
                return
            connection = asked.connection
            answer = _or_close(connection, lambda: connection.answer(timeout_s=CALL_S))
            if answer is not None:
                self._answered(asked.batch, answer, self._wait_s)
                self._asked = None
        finally:
            self._speaking.release()

    def catch_up(self) -> None:
        """Wait a moment for the master's word about everything that is on its way; the thread reads it."""
        if self._outbox:
            self.rouse()
            self._outbox.wait_until_empty(CATCH_UP_S)

    @property
    def owes_answer(self) -> bool:
        """Whether something was sent at once whose answer nobody has read."""
        return self._asked is not None

    def rouse(self) -> None:
        """Have the thread look at once."""
        self._outbox.rouse()

    # -- the thread ----------------------------------------------------------------------------

    def run(self) -> None:
        """Send what is in the outbox, until closed."""
        link, outbox = self.link, self._outbox
        while not link.closed:
            batch: Sequence[Sending] = ()
            try:
                with self._speaking:
                    link.reach()
                    self._finish_asked()
                    batch = outbox.take_batch()
                    if batch:
                        self._deliver(batch, self._wait_s)
                if not batch and not self._wait():
                    break
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody shall wait for ever
                with self._speaking:
                    self.refuse(batch, error)
                    self._refuse_asked(error)
                if link.closed:
                    return
                if not link.up:  # a wrong key is not tried again and again, but when somebody asks for it
                    self.fail_unsent(error)
                    self.wanted.wait()
            self.wanted.clear()
        outbox.close()
        self._refuse_asked(CannotReach("the client was closed before the task was accepted."))

    def _wait(self) -> bool:
        """Wait for a task, or for a moment if somebody has sent at once since the last time; False once closed."""
        idle = self._asked is None and self._number == self._looked_at
        self._looked_at = self._number
        self._asleep = idle
        # Looked at again: who sends at once notes that first, and then asks whether anybody sleeps.
        return self._outbox.wait_for_tasks(None if idle and self._asked is None else LOOK_S)

    def _finish_asked(self) -> None:
        """Read the answer to what was sent at once; sends it again where the connection is lost."""
        asked = self._asked
        if asked is None:
            return

        def answer(connection: Connection) -> object:
            if connection is asked.connection:
                return connection.answer(timeout_s=self._wait_s + CALL_S)
            return connection.call("broker", "submit", asked.args, timeout_s=self._wait_s + CALL_S)

        self._answered(asked.batch, self._insisted(answer), self._wait_s)
        self._asked = None

    def _deliver(self, batch: Sequence[Sending], wait_s: float) -> None:
        """Submit a batch."""
        begun = _now()
        self._number += 1
        args = (self._number, *_packed(batch), wait_s)

        def ask(connection: Connection) -> object:
            return connection.call("broker", "submit", args, timeout_s=wait_s + CALL_S)

        answer = self._insisted(ask)
        if _now() - begun >= wait_s / 2:
            wait_s = 0.0  # it has waited for room already
        self._answered(batch, answer, wait_s)

    def _insisted(self, ask: Callable[[Connection], object]) -> Any:
        try:
            return self.link.insist(ask)
        except RemoteRefusal as error:
            return False, error.code, str(error)

    def _answered(self, batch: Sequence[Sending], answer: Any, wait_s: float) -> None:
        """What is refused together is submitted by halves: only what must be refused is."""
        if answer[0]:
            self._taken(batch, answer)
            return
        refusal = _refusal(answer)
        if len(batch) == 1:
            self.refuse(batch, refusal)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            try:
                self._deliver(half, wait_s if refusal.code == QueueFull.code else self._wait_s)
            except DistqError as error:
                self.refuse(half, error)

    def _taken(self, batch: Sequence[Sending], answer: Any) -> None:
        first: int = answer[1]
        taken = answer[2] if len(answer) > 2 else ()
        others = {index: other if is_answer else None for index, other, is_answer in taken}
        self._awaited.accept(batch, first, others)
        self._accepted(first, len(batch))
        for index, other, is_answer in taken:
            if not is_answer:
                batch[index].future.fail(RefusedUnique(other))
        if keys := [other for other in others.values() if other is not None]:
            self.ask_about(keys)

    # -- what is not taken ---------------------------------------------------------------------

    def refuse(self, batch: Sequence[Sending], error: Exception) -> None:
        """Fail what of a batch nobody has answered."""
        unanswered = [sending.future for sending in batch if sending.future.key is None and not sending.future.done()]
        self._outbox.sent(len(unanswered))
        for future in unanswered:
            future.fail(error)
        self._settled()

    def _refuse_asked(self, error: Exception) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self.refuse(asked.batch, error)

    def fail_unsent(self, error: Exception | None = None) -> None:
        """Fail everything that was not sent."""
        for sending in self._outbox.take_all():
            sending.future.fail(error or CannotReach("the client was closed before the task was sent."))
        self._settled()


def _refusal(answer: Any) -> RefusedSubmit:
    _, code, sentence = answer
    return (RefusedFull if code == QueueFull.code else RefusedSubmit)(code, sentence)


def _or_close(connection: Connection, use: Callable[[], Any]) -> Any:
    """Use a connection from a caller's thread; None if it is lost, which the thread here finds and mends.

    A caller may be interrupted (Ctrl-C) in the middle of a frame: then nobody can use the connection any more.
    """
    try:
        return use()
    except RemoteRefusal as error:
        return False, error.code, str(error)
    except DistqError as error:
        if not is_passing(error):
            raise
        return None
    except BaseException:
        connection.close()
        raise


def _packed(batch: Sequence[Sending]) -> tuple[list[Envelope], list[tuple[Any, ...]], list[bytes]]:
    """A batch as `submit` sends it: envelopes once each, runs of (envelope, how many[, when]), bodies."""
    envelopes: dict[Envelope, int] = {}
    runs: list[tuple[Any, ...]] = []
    for manner, group in itertools.groupby(batch, key=attrgetter("manner")):
        alike = list(group)
        runs.append(alike[0].run(envelopes.setdefault(manner.envelope, len(envelopes)), len(alike)))
    return list(envelopes), runs, [sending.body for sending in batch]
