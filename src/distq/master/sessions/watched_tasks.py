"""The request by which a client asks about tasks that it did not submit itself, or whose ends it may have missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distq.core.states import GONE, LATER, LIVE_STATES
from distq.core.task import Task
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.result_backlog import ROWS_BYTES_MAX, ROWS_MAX, stored_row
from distq.protocol.results import TaskEnd
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.clients import ClientSession
    from distq.net.serve import ServerConnection


class WatchTasks(CallRequest):
    """`watch(keys)`: a client requests the ends of these tasks, which another client may have submitted.

    The reply has a row for each task that has ended, that the master does not know (`GONE`), or whose end does not fit
    the reply (`LATER`). The master pushes the ends of the other tasks later.
    """

    __slots__ = ("keys", "session")

    def __init__(self, connection: ServerConnection, session: ClientSession, keys: list[int]) -> None:
        super().__init__(connection)
        self.session = session
        self.keys = keys

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        tasks = cycle.ledger.state.tasks
        rows: list[TaskEnd] = []
        ended: list[Task] = []
        for task_key in self.keys:
            task = tasks.get(task_key)
            if task is None:
                rows.append((task_key, GONE, None, None))
            elif task.state in LIVE_STATES:
                cycle.ledger.state.subscribe(task, self.session)
            else:
                ended.append(task)

        def reply(bodies: list[bytes | None]) -> None:
            rows.extend(stored_row(task, body) for task, body in zip(ended, bodies, strict=False))
            rows.extend((task.task_key, LATER, None, None) for task in ended[len(bodies) :])
            self.connection.reply(returned(rows))

        cycle.read(self, [task.task_key for task in ended], reply, ROWS_BYTES_MAX)


def read_watch(args: tuple[Any, ...], method: str = "watch") -> list[int]:
    """Check and return the task keys of a client's call; raises BadCall."""
    keys = args[0] if len(args) == 1 else None
    if not isinstance(keys, list) or len(keys) > ROWS_MAX or not all(type(task_key) is int for task_key in keys):
        raise BadCall(f"{method}(keys) takes a list of at most {ROWS_MAX} task keys.")
    return keys
