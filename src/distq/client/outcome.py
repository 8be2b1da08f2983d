"""A task's outcome, from the master's words to what its future returns or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.errors import with_hint
from distq.core.states import DEAD
from distq.core.task_ids import id_text
from distq.tasks.codec import is_json
from distq.tasks.failure import ResultRefused, ResultUnreadable, describe, error_of, is_interruption
from distq.tasks.payload import unpack_result
from distq.tasks.sealed import SEALED, Seal, SealKind, SealRefused, content_of

if TYPE_CHECKING:
    from distq.tasks.seal import Sealer

JSON_ONLY: Final = "this client accepts only JSON (DISTQ_ACCEPT=json)"

FailedOutcome = tuple[int, "bytes | None", "list[str] | None"]
"""State, outcome and causes of a task that did not succeed, as the master reports them."""


class OutcomeReader(NamedTuple):
    """Reads the outcomes of a client that has keys, or that unpickles nothing."""

    sealer: Sealer | None
    json_only: bool = False
    """Whether nothing is unpickled, as the client has DISTQ_ACCEPT=json."""
    seal_id: bytes | None = None
    """The id of the seal of the task; None if the client does not know it."""

    def content(self, body: bytes, kinds: tuple[int, ...], task_key: int | None, number: int = 0) -> bytes:
        """The content of an outcome of this task, or of a part of its stream; raises SealRefused."""
        if self.sealer is None:
            return content_of(body)
        seal, content = self.sealer.open(body, kinds)
        if seal is not None:
            self._check(seal, task_key, number)
        return content

    def _check(self, seal: Seal, task_key: int | None, number: int) -> None:
        if (self.seal_id is not None and seal.seal_id != self.seal_id) or seal.task_key != task_key:
            raise SealRefused("is the signed outcome of another task")
        if seal.number != number:
            raise SealRefused(f"is part {seal.number} of the stream, not part {number}")

    def value(self, body: bytes, task_key: int | None, number: int | None) -> Any:
        """The value of a result, or of the part of a stream with that number; raises what reading it raises."""
        kinds = (SealKind.RESULT,) if number is None else (SealKind.PART,)
        content = self.content(body, kinds, task_key, number or 0)
        if self.json_only and not is_json(content):
            raise SealRefused(f"is pickled, and {JSON_ONLY}")
        return unpack_result(content)

    def error(self, state: int, body: bytes | None, causes: list[str] | None, task_key: int | None) -> BaseException:
        """The error of a task that did not succeed: the exception itself only if a worker has signed it.

        The master and a supervisor write failures too, which they cannot sign: these are read without unpickling.
        """
        why = ""
        if state == DEAD and body:
            if self.sealer is not None and self.sealer.demands_signatures and body[:1] != SEALED:
                why = "it is not signed"
            else:
                body = self.content(body, (SealKind.FAILURE,), task_key)
            if self.json_only:
                why = JSON_ONLY
        return error_of(state, body, causes, why)


def unpacked(
    body: bytes | FailedOutcome, task_key: int | None, reader: OutcomeReader | None = None, number: int | None = None
) -> tuple[Any, BaseException | None]:
    """What the task of that key returned, and what is raised instead; with a number, the part of its stream.

    What ends a program (SystemExit) is this outcome's error and no more when it comes out of a pickle. Ctrl-C and the
    exception of a signal handler are passed on, and the outcome can be asked for again.
    """
    try:
        if isinstance(body, bytes):
            return (unpack_result(body) if reader is None else reader.value(body, task_key, number)), None
        return None, with_hint(error_of(*body) if reader is None else reader.error(*body, task_key))
    except BaseException as error:  # whatever the result's class does when it is made
        if is_interruption(error):
            raise
        what = "result" if isinstance(body, bytes) else "exception"
        what = what if number is None else f"part {number}"
        of = "" if task_key is None else f" of task {id_text(task_key)}"
        if isinstance(error, SealRefused):
            return None, with_hint(_refused(what + of, error))
        unreadable = ResultUnreadable(f"The {what}{of} cannot be read here: {describe(error)}.")
        unreadable.__cause__ = error
        return None, with_hint(unreadable)


def opened(body: bytes | FailedOutcome, task_key: int | None, reader: OutcomeReader | None) -> bytes | FailedOutcome:
    """An outcome as its executor wrote it, of which nothing is unpickled; raises ResultRefused."""
    of = "" if task_key is None else f" of task {id_text(task_key)}"
    reader = reader or OutcomeReader(None)
    try:
        if isinstance(body, bytes):
            return reader.content(body, (SealKind.RESULT,), task_key)
        state, failure, causes = body
        if not failure or failure[:1] != SEALED:  # its texts are shown, and nothing is unpickled
            return body
        return state, reader.content(failure, (SealKind.FAILURE,), task_key), causes
    except SealRefused as error:
        raise _refused(f"outcome{of}", error) from error


def _refused(what: str, error: SealRefused) -> ResultRefused:
    refused = ResultRefused(f"The {what} is refused, and was not read: it {str(error).rstrip('.')}.")
    refused.__cause__ = error
    return refused
