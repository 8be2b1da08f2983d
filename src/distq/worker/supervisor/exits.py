"""How executors end: the cause, the tasks that are to blame, and who has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distq.worker.supervisor import cause
from distq.worker.supervisor.cause import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distq.worker.shared.page import Blame

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
"""The words of the metrics for how executors end."""
LEASE_OVER: Final = Cause(cause.STOPPED, "its lease was over: the master was not reached in time")
TOLD_TO_STOP: Final = Cause(cause.STOPPED, "its task was told to stop")
DRAIN_OVER: Final = Cause(cause.EXIT, "killed at the end of the drain")


class ExitReason(NamedTuple):
    """Why an executor has ended, and which of its tasks can be to blame."""

    end: Cause
    running: tuple[int, int] | None
    suspects: int = 0
    """If each of several tasks can be to blame alike: how many these are."""
    stack: str = ""
    begun: Sequence[tuple[int, int]] = ()
    """Tasks that had ended in it and were not settled: they can be to blame too."""
    unexplained: bool = False
    """Whether it died by itself and had begun nothing: what it was given can be to blame all the same."""

    @property
    def told(self) -> Mapping[str, object]:
        """What the master is told of it."""
        more = {
            "stack": self.stack,
            "suspects": self.suspects,
            "begun": list(self.begun),
            "unexplained": self.unexplained,
        }
        said = {"cause": self.end.text, "kind": self.end.kind, "running": self.running}
        return {**said, **{word: what for word, what in more.items() if what}}


class PoolListener(Protocol):
    """Who is told what happens to the executors."""

    def changed(self) -> None:
        """A slot has changed: plan again."""

    def ended(self, number: int, verdict: ExitReason) -> None:
        """An executor has ended."""

    def returned(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """These tasks were taken back from an executor that has not begun them."""

    def found(self, delivery: tuple[int, int], stack: str) -> None:
        """Where the task of that delivery is, '' if it does not run here."""

    def unable(self, reason: str) -> bool:
        """An executor cannot work at all, `reason` is a sentence; True if the chief says so itself."""


def exit_reason_of(end: Cause, running: Sequence[tuple[int, int]]) -> ExitReason:
    """The verdict on an executor that was ended while these tasks ran."""
    return ExitReason(end, running[0]) if len(running) == 1 else ExitReason(end, None, len(running))


def exit_reason_by(end: Cause, blame: Blame) -> ExitReason:
    """The verdict on an executor that has died by itself, or because of its memory."""
    verdict = exit_reason_of(end, blame.running)
    return verdict._replace(begun=blame.begun, unexplained=not blame.running)


def environment_of_executors(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of executors: the key is not in it, so that it is not in that of what tasks start."""
    return {name: text for name, text in environ.items() if name != "DISTQ_AUTHKEY"}
