"""What a client knows of one task: its key, and its outcome as it arrived, until the program reads it."""

from __future__ import annotations

from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from distq.client.outcome import FailedOutcome, OutcomeReader, unpacked
from distq.core.states import CANCELLED as TASK_CANCELLED
from distq.core.states import SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.core.task_ids import id_text

if TYPE_CHECKING:
    from distq.client.refusals import UnseenRefusal

R = TypeVar("R")

FUTURE_IS_LOCAL: Final = (
    "a future belongs to the process that submitted its task. Pass the result, future.result(), or let the master pass "
    "it: client.chain(distq.call(first, ...), distq.call(second)); to find the future elsewhere, pass its task_id"
)
"""Why a future cannot be an argument of a task, and what to do instead."""
CANCELLED_HERE: Final = "the task was cancelled: by this client."
"""The text of the error of a task that this client has cancelled."""

_ENDED = frozenset({FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED})


class FutureState(Generic[R]):
    """The state of one task's future; subclasses say how code waits for its end."""

    _name: str = ""
    _state: str = PENDING
    _result: R | None = None
    _exception: BaseException | None = None
    _claimed: bool = False
    """Whether one thread has claimed the task, either to send it to the master or to cancel it before that."""
    task_key: int | None = None
    """The key of the task; None until the master has accepted it."""
    unseen: UnseenRefusal | None = None
    """Set if the master refused the submit, until the program has read the error."""
    _packed: bytes | FailedOutcome | None = None
    """The outcome as it arrived, until the program reads it."""
    reads: OutcomeReader | None = None
    """Reads the outcome, for a client that has keys or unpickles nothing; None for the ordinary way."""
    _is_running: bool = False
    """Whether the task ran at the last answer of the master."""

    @property
    def name(self) -> str:
        """The name of the task; '' if this client has not submitted it."""
        return self._name

    @property
    def task_id(self) -> str | None:
        """The id of the task; None until the master has accepted it."""
        return None if self.task_key is None else id_text(self.task_key)

    @property
    def has_ended(self) -> bool:
        """Whether the future has its outcome."""
        return self._state in _ENDED

    @property
    def is_cancelled(self) -> bool:
        """Whether this client has cancelled the task."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    @property
    def has_failed(self) -> bool:
        """Whether the future has an outcome that is no result."""
        return self._state == FINISHED and (self._exception is not None or isinstance(self._packed, tuple))

    @property
    def has_callbacks(self) -> bool:
        """Whether any code waits for the end of the future."""
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as an argument of a task or of another process; raises TypeError."""
        raise TypeError(FUTURE_IS_LOCAL)

    def __repr__(self) -> str:
        """The task's name, its id and the state that this client knows."""
        parts = [type(self).__name__, self._name, self.task_id or "", self._stage()]
        return f"<{' '.join(part for part in parts if part)}>"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        import html  # noqa: PLC0415 - a client's start would take 10 ms longer

        name, task_id, stage = (html.escape(text) for text in (self._name, self.task_id or "", self._stage()))
        return f"<code>{type(self).__name__}</code> <b>{name}</b> <code>{task_id}</code> {stage}"

    def _stage(self) -> str:
        """The state that this client knows, in words."""
        if self.is_cancelled:
            return "cancelled"
        if self._state != FINISHED:
            return ("running" if self._is_running else "accepted") if self.task_key is not None else "not accepted yet"
        if self._packed is not None:
            return "finished" if isinstance(self._packed, bytes) else "finished without a result"
        if self._exception is not None:
            return f"finished raised {type(self._exception).__name__}"
        return f"finished returned {type(self._result).__name__}"

    def forget_seal(self) -> None:
        """Note that the outcome is that of another task, which another client may have sealed."""
        if self.reads is not None:
            self.reads = self.reads._replace(seal_id=None)

    def settle(self, state: int, body: bytes | None, causes: list[str] | None) -> None:
        """Set the outcome that the master has sent."""
        if state == TASK_CANCELLED and causes and causes[-1] == BY_CLIENT:
            self._withdrawn_by_master()
        elif state == SUCCEEDED:
            self._finish(body, None)
        else:
            self._finish((state, body, causes), None)

    def fail(self, error: BaseException) -> None:
        """Fail the future with an error that the client found: the task is lost, or the master refused it."""
        self._finish(None, error)

    def withdraw(self) -> None:
        """Note that the task is cancelled, and wake the code that waits for it."""
        raise NotImplementedError

    def _withdrawn_by_master(self) -> None:
        """Do the same when the master reports that this client has cancelled the task."""
        raise NotImplementedError

    def _finish(self, body: bytes | FailedOutcome | None, error: BaseException | None) -> None:
        """Set the outcome, as it arrived or as an error, unless the future has one, and wake the code that waits."""
        raise NotImplementedError

    def _mark_seen(self) -> None:
        """Note that the program has read the error."""
        unseen, self.unseen = self.unseen, None
        if unseen is not None:
            unseen.seen()

    def _unpickle(self, body: bytes | FailedOutcome) -> None:
        """Unpickle the outcome; two threads may do so at the same time."""
        self._result, self._exception = unpacked(body, self.task_key, self.reads)
        self._packed = None
