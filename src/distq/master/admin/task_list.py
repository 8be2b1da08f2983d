"""The request of `distq list`: tasks that match, oldest first, in slices so that millions delay no other request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from distq.core.ranges import shown
from distq.core.states import LEASED, STATE_NAMES
from distq.core.task import Task
from distq.core.task_ids import id_text, task_key_of
from distq.master.admin.queue_limits import check_queue
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distq.core.ledger import Ledger
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

SLICE: Final = 2_000
"""Maximum tasks that one cycle examines: about a millisecond, so that other requests wait no longer."""
KINDS_EXAMINED_MAX: Final = 20_000
"""Maximum envelopes among which a name is looked up before any task is examined; more would delay other requests."""
PIECE: Final = 50_000
"""Maximum keys that the cursor copies in one step."""
LISTED_MAX: Final = 10_000
"""Maximum tasks in one reply, to limit its size."""
WAITING: Final = ("ready", "delayed", "held")
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "waiting": WAITING,
    "running": ("leased",),
    "ended": ("succeeded", "dead", "cancelled", "expired"),
    **{name: (name,) for name in STATE_NAMES if name != "gone"},
}
"""Words for states in an operator's request, each with the states that it selects."""


class TaskKeyCursor:
    """Reads the keys of all tasks in order, in pieces, over many cycles in which tasks are added and removed.

    A dict has no stable position to continue from. New tasks are at its end, so its position moves back by at most the
    number of all removed tasks: the cursor steps back by that number and skips the keys that it has read.
    """

    def __init__(self, ledger: Ledger, after: int) -> None:
        self._ledger = ledger
        self._last = after
        self._at = 0
        self._size = len(ledger.state.tasks)
        self._next_key = ledger.next_key
        self._piece: Iterator[int] = iter(())
        self.is_over = False
        """Whether the cursor has reached the end."""

    def slice(self) -> list[int]:
        """Return the next keys in order, at most `SLICE`; a slice before the end may be empty."""
        keys = list(islice(self._piece, SLICE))
        if len(keys) < SLICE:
            self._piece = iter(self._copied())
        return keys

    def _copied(self) -> list[int]:
        ledger = self._ledger
        size, next_key = len(ledger.state.tasks), ledger.next_key
        gone = self._size + (next_key - self._next_key) - size
        self._size, self._next_key = size, next_key
        self._at = max(self._at - max(gone, 0), 0)
        copied = list(islice(ledger.state.tasks, self._at, self._at + PIECE))
        self._at += len(copied)
        self.is_over = not copied
        new = copied[bisect_right(copied, self._last) :]
        if new:
            self._last = new[-1]
        return new


class ListTasks(CallRequest):
    """`list`: replies with at most `limit` tasks by queue, name, states and age, and the id to continue after.

    With `examined_max` it examines at most about that number of tasks, even if none of them matches, and replies with
    the number that it has examined and the number of all tasks.
    """

    __slots__ = (
        "before_at",
        "examined",
        "examined_max",
        "keys",
        "limit",
        "may_match",
        "name",
        "queue",
        "rows",
        "states",
    )

    def __init__(self, cycle: Cycle, connection: ServerConnection, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.queue, self.name = text_in(asked, "queue"), text_in(asked, "name")
        self.states = _states(asked.get("states"))
        self.limit = asked.get("limit", 100)
        self.before_at = asked.get("before_at")
        self.examined_max = asked.get("examined_max")
        if type(self.limit) is not int or not 0 < self.limit <= LISTED_MAX:
            raise BadCall(f"limit is a whole number from 1 to {LISTED_MAX:,}, not {shown(self.limit)}.")
        if self.examined_max is not None and (type(self.examined_max) is not int or self.examined_max < 1):
            raise BadCall(f"examined_max is a whole number from 1, not {shown(self.examined_max)}.")
        if not isinstance(self.before_at, int | float | None) or isinstance(self.before_at, bool):
            raise BadCall(f"before_at is a number of seconds since 1970, not {shown(self.before_at)}.")
        check_queue(cycle.ledger.registry, self.queue)
        try:
            after = task_key_of(asked["after"]) if asked.get("after") is not None else -1
        except ValueError as exc:
            raise BadCall(f"{exc}.") from exc
        self.keys = TaskKeyCursor(cycle.ledger, after)
        self.may_match = cycle.ledger.registry.may_have_tasks(self.queue, self.name, KINDS_EXAMINED_MAX)
        """Whether a task of the queue and the name may exist."""
        self.rows: list[dict[str, Any]] = []
        self.examined = 0
        """Number of tasks that it has examined."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        tasks = cycle.ledger.state.tasks
        if not self.may_match:
            self.examined = len(tasks)
            self._reply(cycle, None)
            return
        keys = self.keys.slice()
        for task_key in keys:
            task = tasks.get(task_key)
            if task is not None and self._is_meant(task):
                if len(self.rows) == self.limit:
                    self._reply(cycle, self.rows[-1]["id"])
                    return
                self.rows.append(row_of(task))
        self.examined += len(keys)
        if self.keys.is_over:
            self._reply(cycle, None)
        elif keys and self.examined_max is not None and self.examined >= self.examined_max:
            self._reply(cycle, id_text(keys[-1]))
        elif self.connection.open:
            cycle.ask(self)

    def _is_meant(self, task: Task) -> bool:
        envelope = task.envelope
        return (
            task.state in self.states
            and (self.queue is None or envelope.queue.name == self.queue)
            and (self.name is None or envelope.name == self.name)
            and (self.before_at is None or task.submitted_at < self.before_at)
        )

    def _reply(self, cycle: Cycle, following: str | None) -> None:
        found: dict[str, Any] = {"tasks": self.rows, "next": following}
        if self.examined_max is not None:
            found |= {"examined": self.examined, "task_count": len(cycle.ledger.state.tasks)}
        self.connection.reply(returned(found))


def row_of(task: Task) -> dict[str, Any]:
    """Return the row of a task in a list; times are seconds since 1970."""
    return {
        "id": id_text(task.task_key),
        "queue": task.envelope.queue.name,
        "name": task.envelope.name,
        "state": STATE_NAMES[task.state],
        "attempt": task.attempt,
        "submitted_at": task.submitted_at,
        "since": task.leased_at if task.state == LEASED else task.state_since_at,
        "holder": None if task.holder is None else task.holder.label,
    }


def text_in(asked: Mapping[str, Any], field: str) -> str | None:
    """Return a text of an operator's request, or None if it is missing; raises BadCall."""
    text = asked.get(field)
    if not isinstance(text, str | None):
        raise BadCall(f"{field} is a text, not {shown(text)}.")
    return text


def task_keys_in(ids: object) -> list[int]:
    """Return the keys of the task ids in an operator's request, each once, in their order; raises BadCall."""
    if not isinstance(ids, list | tuple):
        raise BadCall(f"ids is a list of task ids, not {shown(ids)}.")
    try:
        return list(dict.fromkeys(map(task_key_of, ids)))
    except ValueError as exc:
        raise BadCall(f"{exc}.") from exc


def _states(listed: object) -> frozenset[int]:
    """Return the states that the words select; without words, those of tasks that have not ended. Raises BadCall."""
    given = listed if isinstance(listed, list) and listed else ["waiting", "running"]
    try:
        return frozenset(STATE_NAMES.index(name) for field in given for name in WORDS[field])
    except (KeyError, TypeError) as exc:
        raise BadCall(f"states is a list of {', '.join(WORDS)}, not {shown(listed)}.") from exc
