"""Settlements that the store refuses for what they hold: when each is tried again, and how its task ends at last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.failure import pack_failure_text
from distq.core.outcome import Outcome
from distq.master.cycle.refused_commits import REASON_MAX, pause_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.protocol.exchange import CheckedSettlement

REFUSALS_MAX: Final = 6
"""Refusals of a settlement after which its task ends as a dead letter. With the pauses between them that is half a
minute, in which a busy database may become fast enough again; the other slots of the executor wait meanwhile."""
NOT_STORED: Final = "ResultNotStored"
"""The type of the failure of a task whose result the store refuses."""
WHAT: Final = {Outcome.SUCCESS: "return value", Outcome.PART: "part", Outcome.CHECKPOINT: "cursor"}
"""Names of what the store refuses, by outcome; anything else is an error."""


class RefusedSettlements:
    """The tasks of one executor's call whose settlements the store has refused, each alone."""

    __slots__ = ("_final", "_of_task")

    def __init__(self) -> None:
        self._of_task: dict[int, tuple[int, float, str]] = {}
        """By task key: the number of refusals, the instant of the next attempt, the store's text."""
        self._final: set[int] = set()
        """Keys of the tasks that the next attempt ends as dead letters, because the settlement was refused again."""

    def add(self, task_key: int, reason: str, now: float) -> None:
        """Note a refusal. After REFUSALS_MAX the next attempt follows immediately, and ends the task.

        If the store refuses that too, the settlement itself is tried again after a pause.
        """
        count, _, first = self._of_task.get(task_key, (0, 0.0, ""))
        if task_key in self._final:
            self._final.discard(task_key)
            self._of_task[task_key] = count, now + pause_s(count), first
        elif count + 1 < REFUSALS_MAX:
            self._of_task[task_key] = count + 1, now + pause_s(count + 1), reason[:REASON_MAX]
        else:
            self._final.add(task_key)
            self._of_task[task_key] = count + 1, now, reason[:REASON_MAX]

    def replaced(self, settled: CheckedSettlement) -> CheckedSettlement:
        """The settlement, or the failure that ends its task as a dead letter if the next attempt must do so."""
        return not_stored(settled, self._of_task[settled[0]][2]) if settled[0] in self._final else settled

    def reason(self, task_key: int) -> str:
        """The store's text of the newest refusal of a task's settlement, '' without one."""
        return self._of_task[task_key][2] if task_key in self._of_task else ""

    def count(self, task_key: int) -> int:
        """Number of refusals of a task's settlement."""
        return self._of_task[task_key][0]

    def stored(self, rows: Iterable[CheckedSettlement]) -> None:
        """Forget the tasks whose settlements the store has taken."""
        for task_key, *_ in rows:
            self._of_task.pop(task_key, None)
            self._final.discard(task_key)

    def shift(self, by_s: float) -> None:
        """Follow a clock that was set."""
        self._of_task = {key: (count, at + by_s, reason) for key, (count, at, reason) in self._of_task.items()}

    def in_order(self, rows: list[CheckedSettlement]) -> tuple[list[CheckedSettlement], int, float]:
        """Order settlements by the instants of their next attempts, those without a refusal first.

        Returns them, the number of them that the next commit gets, and the instant of that commit.
        """
        due_at = {task_key: at for task_key, (_, at, _) in self._of_task.items()}
        rows = sorted(rows, key=lambda row: due_at.get(row[0], 0.0))  # those of one task keep their order
        free = sum(row[0] not in due_at for row in rows)
        return rows, free or 1, 0.0 if free else due_at[rows[0][0]]


def not_stored(settled: CheckedSettlement, reason: str) -> CheckedSettlement:
    """The failure that replaces a settlement which the store refuses."""
    task_key, delivery, outcome, _, run_s, *_ = settled
    text = f"it had run, but the store refused its {WHAT.get(outcome, 'error')} {REFUSALS_MAX} times: {reason}"
    return task_key, delivery, Outcome.FATAL, pack_failure_text(NOT_STORED, text), run_s, text, None
