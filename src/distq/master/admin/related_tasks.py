"""The request for the tasks on which a task depends, and for those that depend on it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from distq.core.task_ids import id_text
from distq.master.admin.inspection import TaskQuery
from distq.master.admin.task_list import row_of
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle

RELATED_MAX: Final = 20
"""Maximum tasks of each direction in the reply: a group may have thousands, and a person reads a few."""


class RelatedTasks(TaskQuery):
    """`related`: replies with the first tasks on which a task depends and that depend on it, and with their numbers."""

    __slots__ = ()

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        self.task(cycle)
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        state = cycle.ledger.state
        task = state.tasks.get(self.task_key)
        if task is None:
            self.refuse(BadCall(f"the master no longer knows task {id_text(self.task_key)}."))
            return
        depends_on = task.constraints.depends_on
        keys = range(0) if depends_on is None else depends_on.keys
        followers = state.dependencies.followers.get(self.task_key, [])
        upstream: list[dict[str, Any]] = []
        for task_key in islice(keys, RELATED_MAX):
            one = state.tasks.get(task_key)
            upstream.append({"id": id_text(task_key), "name": None, "state": "gone"} if one is None else row_of(one))
        self.connection.reply(
            returned(
                {
                    "upstream": upstream,
                    "upstream_count": len(keys),
                    "downstream": [row_of(one) for one in followers[:RELATED_MAX]],
                    "downstream_count": len(followers),
                }
            )
        )
