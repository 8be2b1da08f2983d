"""Why executors end, which of their tasks may be to blame, and the events that the pool of executors reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.protocol.heartbeat import ExecutorEnd
from distq.settings import ROWS
from distq.worker.supervisor import cause
from distq.worker.supervisor.cause import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distq.worker.shared.lease_id import LeaseId
    from distq.worker.shared.page import Blame

SECRETS: Final = frozenset(row.name for row in ROWS if row.is_secret) | {"DISTQ_STORE"}
"""Settings that executors do not inherit: keys, and the address of the store, which may contain a password."""
NOT_STARTED: Final = "an executor could not be started"
KINDS: Final = {
    cause.OUT_OF_MEMORY: "oom",
    cause.SIGNAL: "signal",
    cause.EXIT: "crash",
    cause.TIMEOUT: "timeout",
    cause.RECYCLE: "recycle",
    cause.STOPPED: "stopped",
    cause.HUNG: "hung",
}
"""The label of the metrics for each kind of an executor's end."""
LEASE_OVER: Final = Cause(cause.STOPPED, "its lease was over: the master was not reached in time")
STOP_REQUESTED: Final = Cause(cause.STOPPED, "its task was stopped")
DRAIN_OVER: Final = Cause(cause.EXIT, "killed at the end of the drain")


class ExitReason(NamedTuple):
    """Why an executor has ended, and which of its tasks may be to blame."""

    cause: Cause
    running: LeaseId | None
    """The task that alone ran; None if none or several did."""
    suspects: int = 0
    """How many tasks ran, if several did: each of them may be to blame."""
    stack: str = ""
    ended: Sequence[LeaseId] = ()
    """Tasks that had ended in the executor and were not settled: they may be to blame too."""
    unexplained: bool = False
    """Whether the executor died by itself while it ran nothing: a task that it had leased may still be to blame."""

    def of_executor(self, number: int) -> ExecutorEnd:
        """The end of the executor of that number, as the worker reports it."""
        return ExecutorEnd(
            number,
            self.cause.text,
            self.cause.kind,
            self.running,
            self.stack,
            self.suspects,
            self.ended,
            self.unexplained,
        )


class PoolListener(Protocol):
    """Receives what happens to the executors of a pool."""

    def changed(self) -> None:
        """Plan again, because a slot has changed."""

    def ended(self, number: int, reason: ExitReason) -> None:
        """Note that an executor has ended."""

    def released(self, lease_ids: Sequence[LeaseId]) -> None:
        """Note that the supervisor has taken back these tasks from an executor that had not begun them."""

    def found(self, lease_id: LeaseId, stack: str) -> None:
        """Note the stack of that task; '' if the task does not run here."""

    def unable(self, reason: str) -> bool:
        """An executor cannot work at all, `reason` is a sentence; True if the listener reports that itself."""


def exit_reason_of(end: Cause, running: Sequence[LeaseId]) -> ExitReason:
    """The reason for an executor that was ended while these tasks ran."""
    return ExitReason(end, running[0]) if len(running) == 1 else ExitReason(end, None, len(running))


def exit_reason_by(end: Cause, blame: Blame) -> ExitReason:
    """The reason for an executor that has died by itself, or because of its memory."""
    reason = exit_reason_of(end, blame.running)
    return reason._replace(ended=blame.ended, unexplained=not blame.running)


def environment_of_executors(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of executors: without keys and passwords, which programs that a task starts would inherit."""
    return {name: text for name, text in environ.items() if name not in SECRETS}
