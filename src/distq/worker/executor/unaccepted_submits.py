"""Keeps a task's settlement until the master has accepted the submits that the task has left in its clients.

A client sends in the background. Were the task settled first, and the executor killed just then, the submits would be
lost, and no other attempt would make them again.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.core.plurals import counted
from distq.tasks import access

if TYPE_CHECKING:
    from distq.protocol.exchange import Settlement
    from distq.worker.shared.clock import Clock

ACCEPT_S: Final = 0.02
"""Maximum seconds for which an exchange waits for acceptances; most take about one round trip. Then it goes without the
settlements that are kept, so that the executor has tasks meanwhile: a full queue has room only once tasks begin."""
KEPT_S: Final = 60.0
"""Seconds after which a settlement is sent anyway: twice the default of DISTQ_CONNECT_WAIT_S, at which a client fails
submits that find no room. Only the master of another cluster can need longer."""
LAST_SUBMITS_S: Final = 5.0
"""Maximum seconds that an executor waits for acceptances before its last settlements."""
KEPT_MAX: Final = 1_000
"""Maximum settlements that are kept while the executor asks for more tasks."""
FIRST_POLL_S: Final = 0.002
POLL_S: Final = 0.05
"""Minimum and maximum seconds between two looks at the submits of kept settlements."""


class SubmitFuture(Protocol):
    """The future of a submit."""

    task_key: int | None

    @property
    def has_ended(self) -> bool:
        """Whether it has an outcome; a refusal is one."""
        ...


class SubmitOutbox(Protocol):
    """The outbox of the client that has made a submit."""

    waits_for_room: bool


class Submit(NamedTuple):
    """A submit of a task.

    The client refers to the future of a submit that was not answered. Without a reference to it, the submit was
    answered, or interrupted before it was sent.
    """

    future: weakref.ref[SubmitFuture]
    outbox: SubmitOutbox

    @property
    def is_answered(self) -> bool:
        """Whether the master has accepted or refused it, or its client waits for room in a full queue.

        Room can need the end of the very task that has submitted: it must be settled.
        """
        future = self.future()
        return future is None or future.task_key is not None or future.has_ended or self.outbox.waits_for_room


Submits = deque[Submit]
"""The newest submits of a task."""


class Kept(NamedTuple):
    """A settlement, and the submits that it waits for."""

    settlement: Settlement
    submits: Submits
    until_at: float
    """When it is sent anyway, by the machine's monotonic clock."""


def note_submit(submits: Submits, future: SubmitFuture, outbox: SubmitOutbox) -> None:
    """Add a submit to those of a task; those that were answered leave, so that the list stays short."""
    drop_answered(submits)
    submits.append(Submit(weakref.ref(future), outbox))


def drop_answered(submits: Submits) -> None:
    """Drop the submits at the front that were answered; several threads of a task may do so at the same time."""
    with suppress(IndexError):
        while submits[0].is_answered:
            first = submits.popleft()
            if not first.is_answered:  # another thread has dropped the one that was seen here
                submits.appendleft(first)
                return


class KeptSettlements(deque[Kept]):
    """The settlements of one executor that wait for acceptances, the oldest first.

    The thread of a task keeps; only the holder of the executor's connection takes. It is a deque because each exchange
    looks whether it is empty.
    """

    def __init__(self, clock: Clock, report: Callable[[str], object]) -> None:
        super().__init__()
        self._clock = clock
        self._report = report
        self.size_bytes = 0
        """Bytes of the bodies."""

    @property
    def settlements(self) -> list[Settlement]:
        """The settlements that are kept."""
        return [one.settlement for one in list(self)]

    @property
    def pause_s(self) -> float:
        """Seconds until the next look at the submits: the longer the oldest settlement is kept, the more."""
        age_s = self._clock() - self[0].until_at + KEPT_S if self else 0.0
        return min(max(age_s, FIRST_POLL_S), POLL_S)

    def keep(self, settlement: Settlement, submits: Submits) -> bool:
        """Keep a settlement if one of its task's submits was not answered; returns whether it is kept."""
        waiting = deque(one for one in list(submits) if not one.is_answered)
        if waiting:
            self.append(Kept(settlement, waiting, self._clock() + KEPT_S))
            self.size_bytes += len(settlement[3] or b"")
        return bool(waiting)

    def take(self, wait_s: float, *, last: bool = False) -> list[Settlement]:
        """Remove the settlements whose submits were all answered; waits up to `wait_s` for the answers.

        With `last`, and after KEPT_S, it removes the others too, and reports them.
        """
        if not self:
            return []
        if access.flush is not None:
            access.flush(wait_s)
        ready: list[Settlement] = []
        late = 0
        now = self._clock()
        for _ in range(len(self)):
            one = self.popleft()
            drop_answered(one.submits)
            if not one.submits:
                ready.append(one.settlement)
            elif last or now >= one.until_at:
                ready.append(one.settlement)
                late += len(one.submits)
            else:
                self.append(one)
        self.size_bytes -= sum(len(settlement[3] or b"") for settlement in ready)
        if late:
            self._report(
                f"The master has not answered {counted(late, 'submit')} of tasks, which are settled now anyway: if "
                "this executor dies before the answer, these submits are lost. See whether the master that the clients "
                "of the tasks use can be reached."
            )
        return ready
