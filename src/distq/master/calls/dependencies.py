"""Gives an executor the outcomes of the dependencies of a task that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.head import unpack_dead
from distq.core.states import DEAD, GONE, LEASED, SUCCEEDED
from distq.core.task import Task
from distq.core.task_ids import id_text
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.worker_session import ExecutorHolder
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.dependencies import Dependencies
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

ENDS_PER_REPLY: Final = 1_000
ENDS_BYTES_MAX: Final = 8 << 20
"""Maximum bytes of outcomes in one reply; a single larger outcome still fits a frame."""

End = tuple[bool, "bytes | None", list[str]] | tuple[bool, "bytes | None", list[str], int]
"""Whether a task has succeeded, its result or error, its causes, and its state for executors that read it."""


class ReadEnds(CallRequest):
    """`before(key, delivery, from)`: the outcomes of a leased task's dependencies, from that number on, as `End` rows.

    The lease gives the number of dependencies; each reply has at least one row.
    """

    __slots__ = ("delivery", "first", "task_key")

    def __init__(self, connection: ServerConnection, task_key: int, delivery: int, first: int) -> None:
        super().__init__(connection)
        self.task_key = task_key
        self.delivery = delivery
        self.first = first

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        tasks = cycle.ledger.state.tasks
        task = tasks.get(self.task_key)
        depends_on = None if task is None else task.constraints.depends_on
        if task is None or depends_on is None or task.state != LEASED or task.delivery != self.delivery:
            self.refuse(
                BadCall(f"task {id_text(self.task_key)} is not leased by that delivery, or has no dependencies.")
            )
            return
        keys = depends_on.keys[self.first : self.first + ENDS_PER_REPLY]
        upstream = [tasks.get(task_key) for task_key in keys]

        def reply(bodies: list[bytes | None]) -> None:
            ends = [_end(one, body) for one, body in zip(upstream, bodies, strict=False)]
            holder = task.holder
            whole = isinstance(holder, ExecutorHolder) and holder.reads_states
            self.connection.reply(returned(ends if whole else [end[:3] for end in ends]))

        cycle.read(self, keys, reply, ENDS_BYTES_MAX)


def _end(task: Task | None, body: bytes | None) -> tuple[bool, bytes | None, list[str], int]:
    if task is None:
        return False, None, ["it is gone"], GONE
    if task.state == SUCCEEDED:
        return True, body, [], SUCCEEDED
    if task.state == DEAD and body is not None:
        dead = unpack_dead(body)
        return False, dead.error, list(dead.causes), DEAD
    return False, None, list(task.causes or ()), task.state


def read_upstream(connection: ServerConnection, args: tuple[Any, ...]) -> ReadEnds:
    """The request of `before(key, delivery, from)`; raises BadCall."""
    if len(args) != 3 or not all(type(number) is int and number >= 0 for number in args):
        raise BadCall("before(key, delivery, from) takes three whole numbers.")
    return ReadEnds(connection, *args)


def upstream_of(tasks: list[Task], dependencies: Dependencies) -> dict[int, tuple[int, bool]]:
    """By leased task with dependencies: their number, and whether it takes the result of its only one as no list."""
    if not dependencies.followers:
        return {}
    return {
        task.task_key: (depends_on.size, depends_on.is_single)
        for task in tasks
        if (depends_on := task.constraints.depends_on) is not None
    }
