"""Finds tasks that wait forever: the tasks for which they wait cannot begin, as waiting tasks hold all slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.plurals import counted
from distq.core.states import LEASED, READY
from distq.core.task import Task
from distq.core.task_ids import id_text, task_key_of
from distq.master.admin.inspection import narrowed
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.workers import Workers
    from distq.net.serve import ServerConnection

KNOWN_S: Final = 6.0
"""Seconds for which a task counts as waiting after its last report; it reports every two seconds."""


class WaitGraph:
    """The tasks that wait for other tasks."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._until_at: dict[int, float] = {}

    def request(self, connection: ServerConnection, asked: Mapping[str, Any]) -> CheckWait:
        """Return the request for `admin("wait", {task, other})`; raises BadCall."""
        return CheckWait(self, connection, asked)

    def deadlock(self, outer: Task, inner: Task, now: float) -> str:
        """Note that one task waits for another; return why it would wait forever, or '' if it would not.

        Only one of the waiting tasks receives a reason: when it fails, its slot is free for a task that others await.
        """
        self._until_at = {task_key: until_at for task_key, until_at in self._until_at.items() if until_at > now}
        self._until_at[outer.task_key] = now + KNOWN_S
        queue = inner.envelope.queue
        if inner.state != READY or not queue.allowance(now):
            return ""
        slots = 0
        for session in narrowed(self._workers, inner)[-1]:
            if session.occupied_slots < session.slots:
                return ""
            slots += session.slots
            for executor in session.executors.values():
                if any(task_key not in self._until_at for task_key in executor.held):
                    return ""
        if not slots:
            return ""
        del self._until_at[outer.task_key]
        return (
            f"Task {id_text(outer.task_key)} waits for task {id_text(inner.task_key)}, which cannot begin: tasks "
            f"that wait for tasks hold {counted(slots, 'slot')}, and no other slot could run it."
        )


class CheckWait(CallRequest):
    """Reports that a task waits for another; the reply says why it would wait forever, or ''."""

    __slots__ = ("inner", "outer", "waits")

    def __init__(self, waits: WaitGraph, connection: ServerConnection, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.waits = waits
        try:
            self.outer, self.inner = task_key_of(asked["task"]), task_key_of(asked["other"])
        except (KeyError, ValueError) as exc:
            raise BadCall(f"wait takes the ids of two tasks as `task` and `other`: {exc}.") from exc

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        tasks = cycle.ledger.state.tasks
        outer, inner = tasks.get(self.outer), tasks.get(self.inner)
        why = ""
        if outer is not None and inner is not None and outer.state == LEASED:
            why = self.waits.deadlock(outer, inner, now)
        self.connection.reply(returned({"why": why}))
