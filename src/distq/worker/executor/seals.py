"""The seals of an executor's tasks: opens payloads, results of dependencies and checkpoints, and seals outcomes.

A payload that is refused is neither unpickled nor run, and its function is not imported: the task fails for good, with
the reason. A master, its file, or a peer with a key for `work` alone can so make an executor run nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.failure import pack_failure_text
from distq.core.option_values import PLAIN
from distq.core.outcome import Outcome
from distq.core.stream_parts import PART_NUMBER
from distq.core.task_ids import id_text
from distq.tasks.failure import cause_of, failure_as_text, pack_failure
from distq.tasks.seal import Sealer, context_of
from distq.tasks.sealed import PAYLOADS, SEALED, Seal, SealKind, SealRefused
from distq.worker.executor.handler import RunOutcome

if TYPE_CHECKING:
    from distq.protocol.exchange import LeasedTask, LeaseReply, Settlement
    from distq.tasks.payload import DependencyEnd

RAN_MAX: Final = 10_000
"""Maximum tasks whose seals an executor remembers, to refuse copies of them."""
_KINDS: Final[Mapping[int, SealKind]] = {
    Outcome.SUCCESS: SealKind.RESULT,
    Outcome.FAILURE: SealKind.FAILURE,
    Outcome.TIMEOUT: SealKind.FAILURE,
    Outcome.FATAL: SealKind.FAILURE,
    Outcome.PART: SealKind.PART,
    Outcome.CHECKPOINT: SealKind.CHECKPOINT,
}
_NOT_ENDED: Final = (Outcome.PROGRESS, Outcome.CHECKPOINT, Outcome.PART)
NO_SIGNATURE: Final = "; the HTTP API and standard-library programs cannot sign"
_NO_DEPENDENCIES: Final = (0, False)


class OpenTask(NamedTuple):
    """What an executor keeps of a task whose payload it has opened, until it settles the task."""

    seal: Seal | None
    refusal: RunOutcome | None = None
    """The outcome of a task that must not run."""


class ExecutorSeals:
    """Opens and seals the bodies of one executor's tasks."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._open: dict[int, OpenTask] = {}
        """By task key, from its lease to its settlement."""
        self._ran: dict[bytes, int] = {}
        """The tasks of the newest seals, by the seal's id."""

    @property
    def demands_signatures(self) -> bool:
        """Whether the executor runs only what is signed."""
        return self._sealer.demands_signatures

    # -- before the run --------------------------------------------------------------------------

    def opened(self, row: LeasedTask, reply: LeaseReply) -> LeasedTask:
        """The leased task with an opened payload; one that is refused keeps its own, and has a refusal."""
        task_key, delivery, attempt, index, payload = row
        queue, name, kind, _ = reply.envelopes[index]
        try:
            context = context_of(queue, name, reply.headers.get(task_key, ()))
            seal, content = self._sealer.open(payload, PAYLOADS, context)
            if seal is None and kind == PLAIN and self.demands_signatures:
                raise SealRefused("is not signed")  # noqa: TRY301 - one way for every refusal
            if seal is not None:
                self._check(seal, task_key, reply.upstream_counts.get(task_key, _NO_DEPENDENCIES))
        except SealRefused as error:
            self._open[task_key] = OpenTask(None, refusal(str(error), is_signed=payload[:1] == SEALED))
            return row
        self._open[task_key] = OpenTask(seal)
        return task_key, delivery, attempt, index, content

    def _check(self, seal: Seal, task_key: int, dependencies: tuple[int, bool]) -> None:
        """Raise SealRefused for other dependencies than those of the seal, and for a copy of another task."""
        count, is_single = dependencies
        if len(seal.dependencies) != count or (count and seal.is_single != is_single):
            raise SealRefused(
                f"was signed for a task with {len(seal.dependencies)} dependencies, and came with {count}"
            )
        if seal.kind == SealKind.SCHEDULE:
            return
        other = self._ran.setdefault(seal.seal_id, task_key)
        if other != task_key:
            raise SealRefused(f"is a copy of the payload of task {id_text(other)}, which this executor has run")
        while len(self._ran) > RAN_MAX:
            del self._ran[next(iter(self._ran))]

    def refusal_of(self, task_key: int) -> RunOutcome | None:
        """The outcome of a task that must not run; None if it may run."""
        task = self._open.get(task_key)
        return None if task is None else task.refusal

    def run_of(self, task_key: int, run: Callable[[bytes], bytes | RunOutcome]) -> Callable[[bytes], RunOutcome]:
        """What runs a task: `run`, or nothing but its refusal; it returns no bytes, which would not be sealed."""

        def run_sealed(payload: bytes) -> RunOutcome:
            ran = self.refusal_of(task_key) or run(payload)
            return RunOutcome(Outcome.SUCCESS, ran) if isinstance(ran, bytes) else ran

        return run_sealed

    def opened_ends(self, task_key: int, ends: Sequence[DependencyEnd]) -> list[DependencyEnd]:
        """How a task's dependencies have ended, with opened results and errors; raises SealRefused."""
        task = self._open[task_key]
        seals = task.seal.dependencies if task.seal is not None else ()
        opened: list[DependencyEnd] = []
        for number, (is_good, body, *rest) in enumerate(ends):
            seal_id = seals[number] if number < len(seals) else None
            opened.append((is_good, self._opened_end(body or b"", seal_id, task.seal, is_good=is_good), *rest))
        return opened

    def _opened_end(self, body: bytes, seal_id: bytes | None, task: Seal | None, *, is_good: bool) -> bytes:
        if not is_good and self.demands_signatures and task is not None and not task.takes_failures:
            raise SealRefused("needs the results of its dependencies, and came with an error of one")
        if not is_good and (not body or (self.demands_signatures and body[:1] != SEALED)):
            if not body:
                return body
            failure = failure_as_text(body, "it is not signed")  # the master's words, or those of a supervisor
            return pack_failure_text(failure.kind, failure.text, failure.remote_traceback)
        seal, content = self._sealer.open(body, (SealKind.RESULT,) if is_good else (SealKind.FAILURE,))
        if seal is not None and seal_id is not None and seal.seal_id != seal_id:
            raise SealRefused("came with the result of another task than the one that it depends on")
        return content

    def refuse(self, task_key: int, why: str) -> None:
        """Have a task that was opened not run, for this reason."""
        self._open[task_key] = OpenTask(None, refusal(why, is_signed=True))

    def opened_cursor(self, task_key: int, cursor: bytes | None) -> bytes | None:
        """The checkpoint of an earlier attempt; raises SealRefused."""
        if cursor is None:
            return None
        seal, content = self._sealer.open(cursor, (SealKind.CHECKPOINT,))
        task = self._open.get(task_key)
        if seal is not None and task is not None and task.seal is not None:
            own = task.seal.seal_id, task_key
            if (seal.seal_id, seal.task_key) != own:
                raise SealRefused("came with the checkpoint of another task")
        return content

    def forget(self, task_key: int) -> None:
        """Forget a task that is handed back."""
        self._open.pop(task_key, None)

    # -- after the run ---------------------------------------------------------------------------

    def sealed(self, settlement: Settlement) -> Settlement:
        """The settlement with a sealed body, and of an encrypted task without the text of its error or of its end.

        A body of a task that is not known is not sent.
        """
        task_key, delivery, outcome, body, run_s, text, *rest = settlement
        task = self._open.get(task_key)
        kind = _KINDS.get(outcome)
        if kind is not None and body and task is None:
            error = SealRefused("What the task returned or raised is not sent: its payload is not known any more.")
            return task_key, delivery, Outcome.FATAL, pack_failure(error), run_s, cause_of(error)
        if outcome not in _NOT_ENDED:
            self._open.pop(task_key, None)
        if task is None or task.seal is None:
            return settlement
        is_encrypted, prefix, number = task.seal.is_encrypted, b"", 0
        if is_encrypted and text and outcome != Outcome.UNKNOWN:  # that one names a function, and nothing of the task
            shown = "" if outcome == Outcome.DISCARDED else f"{text.partition(':')[0]}: "
            text = f"{shown}(its text is encrypted)"
        if kind is None or not body:
            return (task_key, delivery, outcome, body, run_s, text, *rest)  # type: ignore[return-value] # as below
        if kind == SealKind.PART:
            prefix, body = body[: PART_NUMBER.size], body[PART_NUMBER.size :]
            (number,) = PART_NUMBER.unpack(prefix)
        seal = Seal(kind, task.seal.seal_id, task_key, number, is_encrypted=is_encrypted)
        sealed: Any = (task_key, delivery, outcome, prefix + self._sealer.seal(seal, body), run_s, text, *rest)
        return sealed  # type: ignore[no-any-return] # a tuple of either length


def refusal(why: str, *, is_signed: bool) -> RunOutcome:
    """The outcome of a task that must not run; `why` follows "its payload"."""
    more = "" if is_signed else NO_SIGNATURE
    error = SealRefused(f"The worker has not run the task: its payload {why.rstrip('.')}{more}.")
    return RunOutcome(Outcome.FATAL, pack_failure(error), cause_of(error))
