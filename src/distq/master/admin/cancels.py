"""Requests that cancel tasks: waiting tasks, which then never begin, and running tasks, which then stop.

For the master, a task is cancelled as soon as that is stored; a later report of its executor is too late. The master
then immediately notifies the supervisor, which raises an exception in the task, and ends the executor if that fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.states import LEASED, LIVE_STATES
from distq.core.task import BY_CLIENT
from distq.core.task_ids import id_text
from distq.master.admin.queue_limits import check_queue
from distq.master.admin.task_list import SLICE, TaskKeyCursor, task_keys_in, text_in
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.worker_session import ExecutorHolder
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distq.core.ports import CommitRefused
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

CANCELLED_PER_CYCLE: Final = 1_000
"""Maximum tasks that one cycle cancels, so that a large cancellation delays no other request."""
KEYS_MAX: Final = 10_000
"""Maximum task keys in one `cancel` call of a client, to limit the size of the call."""


class CancelTasks(CallRequest):
    """Cancels tasks, at most a thousand in each cycle, so that a million tasks delay no other request.

    The reply says how many tasks were cancelled, which running tasks were left alone, and how many had ended or are
    not known.
    """

    __slots__ = ("before", "cause", "done", "keys", "left", "noted", "over", "running", "stops")

    def __init__(self, connection: ServerConnection, keys: list[int], cause: str, *, running: bool) -> None:
        super().__init__(connection)
        self.keys = keys
        """Keys of the tasks that are left, the next one last."""
        self.cause = cause
        self.running = running
        self.noted = 0
        """Number of tasks that the present cycle cancels."""
        self.stops: list[tuple[ExecutorHolder, int, int]] = []
        """Running tasks that their executors shall stop after the commit: executor, key, delivery."""
        self.done = 0
        self.over: list[int] = []
        self.before: tuple[list[int], int] = [], 0
        """The keys that the present cycle examines, and the length of `over` before it."""
        self.left = 0
        """How many of these keys a later cycle must examine again."""

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return min(len(self.keys), CANCELLED_PER_CYCLE), 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        ledger = cycle.ledger
        again: list[int] = []
        self.noted, self.stops = 0, []
        self.before = self.keys[-CANCELLED_PER_CYCLE:], len(self.over)
        self.left = len(self.before[0])
        for task_key in reversed(self.keys[-CANCELLED_PER_CYCLE:]):
            decided = ledger.cancel(task_key, self.cause, running=self.running)
            if decided is None:
                again.append(task_key)
            elif not decided:
                self.over.append(task_key)
            else:
                self.noted += 1
                task = ledger.state.tasks[task_key]
                if task.state == LEASED and isinstance(task.holder, ExecutorHolder):
                    self.stops.append((task.holder, task_key, task.delivery))
        self.keys[-CANCELLED_PER_CYCLE:] = again[::-1]
        self.left = len(again)
        return True

    def undo(self) -> None:  # noqa: D102 - as Request
        keys, over = self.before
        self.keys[len(self.keys) - self.left :] = keys
        del self.over[over:]
        self.left = len(keys)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.done += self.noted
        for executor, task_key, delivery in self.stops:
            executor.session.stop(cycle, task_key, delivery)
        if self.keys and self.connection.open:
            cycle.ask(self)
            return
        tasks = cycle.ledger.state.tasks
        running = [
            id_text(task_key) for task_key in self.over if (task := tasks.get(task_key)) and task.state == LEASED
        ]
        counts = {"done": self.done, "running": running, "over": len(self.over) - len(running)}
        self.connection.reply(returned(counts))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


def read_cancel(connection: ServerConnection, args: tuple[Any, ...]) -> CancelTasks:
    """Return the request for a client's call `cancel(keys, running)`; raises BadCall."""
    keys, running = args if len(args) == 2 else (None, None)
    if (
        not isinstance(keys, list)
        or len(keys) > KEYS_MAX
        or not all(type(task_key) is int for task_key in keys)
        or not isinstance(running, bool)
    ):
        raise BadCall(f"cancel(keys, running) takes a list of at most {KEYS_MAX:,} task keys, and True or False.")
    return CancelTasks(connection, keys, BY_CLIENT, running=running)


class CountTasks(CallRequest):
    """Counts the tasks that wait and lists those that run, as `CancelTasks` would find them, in slices."""

    __slots__ = ("count", "keys", "live", "running")

    def __init__(self, connection: ServerConnection, keys: list[int]) -> None:
        super().__init__(connection)
        self.keys = keys
        """Keys of the tasks that are left, the next one last."""
        self.count = len(keys)
        self.live = 0
        self.running: list[str] = []

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        tasks = cycle.ledger.state.tasks
        for task_key in self.keys[-SLICE:]:
            task = tasks.get(task_key)
            if task is not None and task.state in LIVE_STATES:
                self.live += 1
                if task.state == LEASED:
                    self.running.append(id_text(task_key))
        del self.keys[-SLICE:]
        if self.keys and self.connection.open:
            cycle.ask(self)
            return
        done = self.live - len(self.running)
        self.connection.reply(returned({"done": done, "running": self.running, "over": self.count - self.live}))


class Search(CallRequest):
    """Finds, in slices, the tasks of a queue, a name, or both that have not ended, for a request about their keys."""

    __slots__ = ("end_key", "found", "keys", "name", "queue", "then")

    def __init__(
        self,
        connection: ServerConnection,
        cycle: Cycle,
        queue: str | None,
        name: str | None,
        then: Callable[[list[int]], CallRequest],
    ) -> None:
        super().__init__(connection)
        self.queue = queue
        self.name = name
        self.then = then
        self.keys = TaskKeyCursor(cycle.ledger, -1)
        self.end_key = cycle.ledger.next_key
        """Tasks from this key on were submitted after the request."""
        self.found: list[int] = []

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        tasks = cycle.ledger.state.tasks
        for task_key in self.keys.slice():
            task = tasks.get(task_key)
            if task_key < self.end_key and task is not None and _is_of(task, self.queue, self.name):
                self.found.append(task_key)
        if self.connection.open:
            cycle.ask(self.then(self.found[::-1]) if self.keys.is_over else self)


def cancel_of(cycle: Cycle, connection: ServerConnection, asked: Mapping[str, Any]) -> CallRequest:
    """Return the request for `admin("cancel", asked)`: ids, or queue and name; running, dry_run. Raises BadCall."""
    cause = asked.get("cause")
    text = cause[:200] if isinstance(cause, str) else "by an operator"

    def request(keys: list[int]) -> CallRequest:
        if asked.get("dry_run"):
            return CountTasks(connection, keys)
        return CancelTasks(connection, keys, text, running=bool(asked.get("running")))

    ids = asked.get("ids")
    if ids is not None:
        return request(task_keys_in(ids)[::-1])
    queue, name = text_in(asked, "queue"), text_in(asked, "name")
    if queue is None and name is None:
        raise BadCall("cancel takes ids, or a queue, a name, or both; the request has none of them.")
    if asked.get("must_exist"):
        check_queue(cycle.ledger.registry, queue)
    return Search(connection, cycle, queue, name, request)


def _is_of(task: Task, queue: str | None, name: str | None) -> bool:
    envelope = task.envelope
    return (
        task.state in LIVE_STATES
        and (queue is None or envelope.queue.name == queue)
        and (name is None or envelope.name == name)
    )
