"""The steps of submits: what the client sends, and what it does with the master's answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from distq.client.future_state import FutureState
from distq.client.outbox import PendingSubmit, packed
from distq.client.refusals import RefusedUnique, refusal_of
from distq.client.steps import MasterCall, Steps
from distq.core.errors import DistqError, QueueFull
from distq.net.dial import CannotReach
from distq.protocol.methods import SUBMIT
from distq.protocol.submit import RETURN, SubmitAccepted, SubmitRefused, read_answer
from distq.tasks import access
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.outbox import UnsentTasks
    from distq.client.pending_futures import PendingFutures
    from distq.client.refusals import Refusals

F = TypeVar("F", bound=FutureState[Any])

SLICE_S: Final = 1.0
"""Maximum seconds that a submit that waits for room in a queue holds the connection, so that others can be sent."""

_now = time.monotonic  # noqa: TID251 - the edge: how long a submit has waited for room


class SubmitSteps(Generic[F]):
    """Numbers one client's submits and settles their answers; each submit is one, also if it is sent again."""

    def __init__(
        self,
        outbox: UnsentTasks[F],
        pending: PendingFutures[F],
        refusals: Refusals,
        wait_s: float,
        on_accepted: Callable[[int, int], Sequence[int]],
        on_settled: Callable[[], None],
    ) -> None:
        self.number = 0
        """The number of the last submit."""
        self._outbox = outbox
        self._pending = pending
        self._refusals = refusals
        self._wait_s = wait_s
        self._on_accepted = on_accepted
        """Called with the first key and the number of the accepted tasks; returns the keys to ask the master about."""
        self._on_settled = on_settled
        self._overdue_count = 0
        """Number of tasks at the front of the outbox that have waited behind a submit which found no room in time."""
        self._has_waited_in_vain = False
        """Whether the master has refused a submit of the present batch after it had waited for room."""

    def send_batch(self, batch: Sequence[PendingSubmit[F]]) -> Steps[None]:
        """Submit tasks that were taken from the outbox; after an error, those without an answer fail with it."""
        try:
            if access.access is None or not (yield from self._has_found_room(batch)):
                yield from self._deliver_or_refuse(batch)
        except Exception as error:
            self.refuse([sending for sending in batch if sending.future.task_key is None], error)
            raise
        finally:
            self._outbox.waits_for_room = False
            self._outbox.sent(len(batch))
            self._on_settled()

    def _deliver_or_refuse(self, batch: Sequence[PendingSubmit[F]]) -> Steps[None]:
        """Submit a batch; wait for room in full queues, unless the batch has waited for as long in the outbox."""
        behind = len(self._outbox.waiting)
        is_overdue = self._overdue_count >= len(batch)
        self._overdue_count = max(self._overdue_count - len(batch), 0)
        self._has_waited_in_vain = False
        yield from self._deliver(batch, 0.0 if is_overdue else self._wait_s)
        if self._has_waited_in_vain:
            self._overdue_count = behind

    def _has_found_room(self, batch: Sequence[PendingSubmit[F]]) -> Steps[bool]:
        """Submit a batch without waiting for room in full queues; False if it must be submitted again.

        The task that has made the submit may have to end before there is room: its executor looks at `waits_for_room`.
        """
        refusal = yield from self._submit(batch, 0.0)
        self._outbox.waits_for_room = refusal is not None and refusal.code == QueueFull.code
        return refusal is None

    def _submit(self, batch: Sequence[PendingSubmit[F]], wait_s: float) -> Steps[DistqError | None]:
        """Submit a batch; returns the error with which the master refuses it."""
        self.number += 1
        number = self.number
        args = (number, *packed(batch), wait_s)
        self._pending.begin(number, len(batch))
        try:
            answer = yield from submitted(args, wait_s)
            if isinstance(answer, SubmitAccepted):
                yield from self.accept(number, batch, answer)
                return None
        finally:
            self._pending.refuse(number)  # unless it was accepted
        return refusal_of(answer)

    def _deliver(self, batch: Sequence[PendingSubmit[F]], wait_s: float) -> Steps[None]:
        """Submit a batch. If the master refuses it, submit each half: only the tasks that must be refused are."""
        begun = _now()
        refusal = yield from self._submit(batch, wait_s)
        if refusal is None:
            return
        has_waited = refusal.code == QueueFull.code and wait_s > 0 and _now() - begun >= wait_s / 2
        self._has_waited_in_vain |= has_waited
        if len(batch) == 1:
            self.refuse(batch, refusal)
            return
        if refusal.code != QueueFull.code:
            wait_s = self._wait_s
        elif has_waited:
            wait_s = 0.0
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            try:
                yield from self._deliver(half, wait_s)
            except DistqError as error:
                self.refuse(half, error)

    def send_together(self, batch: Sequence[PendingSubmit[F]], slice_s: float) -> Steps[SubmitAccepted | SubmitRefused]:
        """Submit tasks once, of which only the last is awaited; the master waits `slice_s` for room in a full queue.

        The submit is begun first: an end received before the answer is kept.
        """
        self.number += 1
        number = self.number
        args = (number, *packed(batch), slice_s)
        self._pending.begin(number, 1)
        try:
            answer = yield from submitted(args, slice_s)
            if isinstance(answer, SubmitAccepted):
                last = answer._replace(first=answer.first + len(batch) - 1)
                yield from self.accept(number, batch[-1:], last)
        finally:
            self._pending.refuse(number)  # unless it was accepted
            self._on_settled()
        return answer

    def settle(
        self, number: int, batch: Sequence[PendingSubmit[F]], answer: SubmitAccepted | SubmitRefused
    ) -> Steps[None]:
        """Accept or refuse a submit as its answer says."""
        if isinstance(answer, SubmitAccepted):
            yield from self.accept(number, batch, answer)
        else:
            self.refuse(batch, refusal_of(answer))
            self._pending.refuse(number)
            self._on_settled()

    def accept(self, number: int, batch: Sequence[PendingSubmit[F]], answer: SubmitAccepted) -> Steps[None]:
        """Give the tasks of a submit their keys, and await them."""
        first, conflicts = answer
        others = {index: other if stands_for_it else None for index, other, stands_for_it in conflicts}
        self._pending.take(number, batch, first, others)
        if keys := self._on_accepted(first, len(batch)):
            yield from self._pending.ask_about(keys)
        for index, other, stands_for_it in conflicts:
            if not stands_for_it:
                self.refuse([batch[index]], RefusedUnique(other))
            elif (constraints := batch[index].options.constraints) is not None and constraints[4] == RETURN:
                batch[index].future.forget_seal()
        if keys := [other for other in others.values() if other is not None]:
            yield from self._pending.ask_about(keys)
        self._pending.accept(number)  # last: after an interruption before this call, all steps are done again
        self._on_settled()

    def refuse(self, batch: Sequence[PendingSubmit[F]], error: Exception) -> None:
        """Fail the futures of a batch that have not ended."""
        for sending in batch:
            if not sending.future.has_ended:
                self._refusals.note(sending.future, error)
                sending.future.fail(error)

    def fail_unsent(self, error: Exception | None = None) -> None:
        """Fail the futures of all tasks that were not sent."""
        self.refuse(self._outbox.take_all(), error or CannotReach("the client was closed before the task was sent."))
        self._on_settled()


class PatientSubmit(Generic[F]):
    """A submit that waits for room in a full queue, in slices: other submits pass between two of them."""

    def __init__(self, steps: SubmitSteps[F], batch: Sequence[PendingSubmit[F]], wait_s: float) -> None:
        self._steps = steps
        self._batch = batch
        self._deadline = _now() + wait_s

    def next_slice(self) -> Steps[SubmitAccepted | SubmitRefused]:
        """The steps of the next slice, which end with the master's answer."""
        return self._steps.send_together(self._batch, min(max(self._deadline - _now(), 0.0), SLICE_S))

    def is_over(self, answer: SubmitAccepted | SubmitRefused) -> bool:
        """Whether the master has accepted the tasks; raises QueueFull after the wait, or any other refusal's error."""
        if isinstance(answer, SubmitAccepted):
            return True
        if answer.code != QueueFull.code or _now() >= self._deadline:
            raise refusal_of(answer)
        return False


def submitted(args: tuple[object, ...], wait_s: float) -> Steps[SubmitAccepted | SubmitRefused]:
    """The answer to a submit; the master's refusal to read the call becomes an answer too."""
    try:
        return read_answer((yield MasterCall(SUBMIT, args, wait_s)))
    except RemoteRefusal as error:
        return SubmitRefused(error.code, str(error))
