"""Operators' requests about dead letters: list them, show one, retry them, purge them.

Each request settles at most a thousand dead letters in one cycle of the broker, so that a retry of a million neither
makes one very large commit nor delays other requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from distq.core import moves
from distq.core.errors import Undecided
from distq.core.head import unpack_dead
from distq.core.ranges import shown
from distq.core.task import Task, delivery_count
from distq.core.task_ids import id_text
from distq.master.admin.dead_letter_filter import DeadLetterFilter, learn, read_choice
from distq.master.admin.task_list import task_keys_in
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

DECIDED_PER_CYCLE: Final = 1_000
"""Maximum dead letters that one request settles in one cycle, so that it delays no other request."""
ROWS_PER_CYCLE: Final = 10_000
"""Maximum stored rows that one cycle changes; a dead letter with a stream has rows for its parts too."""
LISTED_MAX: Final = 10_000
"""Maximum dead letters in one reply, to limit its size."""
READ_PER_CYCLE: Final = 16
"""Maximum bodies of dead letters in memory at the same time when only their causes are needed."""

Filters = Mapping[str, Any]


class DeadList(CallRequest):
    """`dead_list`: replies with the newest dead letters that meet the conditions, and with their total.

    With `after`, the id of the last one of the previous list, it replies with those that died before that one.
    """

    __slots__ = ("after", "filter", "limit")

    def __init__(self, cycle: Cycle, connection: ServerConnection, asked: Filters) -> None:
        super().__init__(connection)
        self.limit = _whole(asked.get("limit", 100), LISTED_MAX)
        self.after = None if asked.get("after") is None else _keys([asked["after"]])[0]
        """Key of the dead letter that the list follows."""
        self.filter = DeadLetterFilter(read_choice(cycle.ledger.registry, asked), mark=self.after)

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        if self.after is not None and self.after not in cycle.ledger.state.dead:
            raise BadCall(f"{id_text(self.after)} is no longer a dead letter: begin the list again, without after.")
        return self.filter.knows_enough(cycle, self)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        found = self.filter.found
        total, end = len(found), len(found) if self.after is None else self.filter.older
        first = max(end - self.limit, 0)
        following = id_text(found[first]) if first else None
        newest = [task for key in reversed(found[first:end]) if (task := cycle.ledger.state.dead.get(key)) is not None]
        unknown = [task for task in newest if task.causes is None]
        for first in range(0, len(unknown), READ_PER_CYCLE):
            chunk = unknown[first : first + READ_PER_CYCLE]
            cycle.read(self, [task.task_key for task in chunk], partial(learn, chunk))
        cycle.read(
            self,
            (),
            lambda _: self.connection.reply(
                returned({"total": total, "tasks": [row(task) for task in newest], "next": following})
            ),
        )


class DeadShow(CallRequest):
    """`dead_show`: replies with all facts about one dead letter; payload and error are its stored bytes."""

    __slots__ = ("task_key",)

    def __init__(self, connection: ServerConnection, asked: Filters) -> None:
        super().__init__(connection)
        (self.task_key,) = _keys([asked.get("id")])

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        if self.task_key not in cycle.ledger.state.dead:
            raise BadCall(f"{id_text(self.task_key)} is not a dead letter; `distq dead list` shows which tasks are.")
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        task = cycle.ledger.state.dead.get(self.task_key)

        def reply(bodies: list[bytes | None]) -> None:
            if task is None or bodies[0] is None:
                self.refuse(BadCall(f"{id_text(self.task_key)} is no longer a dead letter: it was retried or deleted."))
                return
            learn([task], bodies)
            payload, error, _ = unpack_dead(bodies[0])
            self.connection.reply(returned({**row(task), "payload": payload, "error": error}))

        cycle.read(self, [self.task_key], reply)


class SettleDeadLetters(CallRequest):
    """`dead_retry` and `dead_purge`: settle the named dead letters, or all that match; `dry_run` only counts them.

    Of named ones a `dry_run` replies with their number only: it reads no body for the error of each.
    """

    __slots__ = (
        "asked",
        "chosen",
        "conflicts",
        "done",
        "event",
        "filter",
        "keys",
        "lacking",
        "noted",
        "others",
        "unknown",
    )

    def __init__(self, cycle: Cycle, event: int, connection: ServerConnection, asked: Filters) -> None:
        super().__init__(connection)
        self.event = event
        self.asked = asked
        ids = asked.get("ids")
        needs_errors = bool(asked.get("dry_run")) and ids is None
        self.filter = DeadLetterFilter(read_choice(cycle.ledger.registry, asked), needs_errors=needs_errors)
        self.keys: list[int] | None = None if ids is None else _keys(ids)
        """Keys of the dead letters that are left, the next one last; None before the search."""
        self.done = 0
        self.noted: list[int] = []
        """Keys of the dead letters that the present cycle settles."""
        self.chosen: list[int] = []
        """All keys that the present cycle has removed from `keys`."""
        self.lacking: list[str] = []
        """Named ids of this cycle that are no dead letters."""
        self.others: list[tuple[str, str]] = []
        """Ids of this cycle whose unique key another task has, each with the id of that task."""
        self.unknown: list[str] = []
        """The ids of `lacking` of all cycles, for the reply."""
        self.conflicts: list[tuple[str, str]] = []
        """The pairs of `others` of all cycles, for the reply."""

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        ledger = cycle.ledger
        if not self.filter.knows_enough(cycle, self):
            return False
        if self.asked.get("dry_run"):
            return True
        if self.keys is None:
            self.keys = self.filter.found[::-1]
        most = self._fitting(ledger)
        chunk = [task for task_key in self.keys[-most:] if (task := ledger.state.dead.get(task_key)) is not None]
        if self.event == moves.REQUEUE and not _bodies_are_there(cycle, chunk):
            return False
        self.noted, self.chosen, self.lacking, self.others = [], [], [], []
        if self.event == moves.REQUEUE:
            learn(chunk, [task.body for task in chunk])
        for _ in range(min(most, len(self.keys))):
            try:
                other = ledger.unique_rival(self.keys[-1], now) if self.event == moves.REQUEUE else None
            except Undecided:  # another dead letter of this cycle, or a submit, takes its unique key
                break
            self._settle(ledger, self.keys[-1], other)
            self.chosen.insert(0, self.keys.pop())
        return True

    def _settle(self, ledger: Ledger, task_key: int, other: Task | None) -> None:
        if other is not None:
            self.others.append((id_text(task_key), id_text(other.task_key)))
        elif ledger.settle_dead(task_key, self.event):
            self.noted.append(task_key)
        elif self.asked.get("ids") is not None:
            self.lacking.append(id_text(task_key))

    def undo(self) -> None:  # noqa: D102 - as Request
        if self.keys is not None:
            self.keys += self.chosen
        self.chosen = []

    def _fitting(self, ledger: Ledger) -> int:
        """Return how many of the keys that are left fit one cycle, with the parts of their streams."""
        assert self.keys is not None
        count = room = 0
        for task_key in reversed(self.keys[-DECIDED_PER_CYCLE:]):
            room += 1 + (ledger.state.stream_parts.row_count(task_key) if self.event == moves.DROP else 0)
            if count and room > ROWS_PER_CYCLE:
                break
            count += 1
        return max(count, 1)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.asked.get("dry_run"):
            self.connection.reply(returned(self._counted(cycle)))
            return
        self.done += len(self.noted)
        self.unknown += self.lacking
        self.conflicts += self.others
        if self.keys and self.connection.open:
            cycle.ask(self)
        else:
            conflicts = {"taken": self.conflicts} if self.conflicts else {}
            self.connection.reply(returned({"done": self.done, "unknown": self.unknown, **conflicts}))

    def _counted(self, cycle: Cycle) -> dict[str, Any]:
        if self.keys is None:
            counts = [(*kind, count) for kind, count in self.filter.counts.most_common()]
            return {"done": sum(row[-1] for row in counts), "unknown": [], "counts": counts}
        unknown = [id_text(task_key) for task_key in reversed(self.keys) if task_key not in cycle.ledger.state.dead]
        return {"done": len(self.keys) - len(unknown), "unknown": unknown, "counts": []}

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


def row(task: Task) -> dict[str, Any]:
    """Return the facts about a dead letter that need no body; times are seconds since 1970."""
    envelope = task.envelope
    return {
        "id": id_text(task.task_key),
        "queue": envelope.queue.name,
        "name": envelope.name,
        "kind": envelope.kind,
        "failures": task.failures,
        "lost": task.lost,
        "deliveries": delivery_count(task.delivery),
        "submitted_at": task.submitted_at,
        "died_at": task.state_since_at,
        "causes": list(task.causes or ()),
    }


def _bodies_are_there(cycle: Cycle, tasks: list[Task]) -> bool:
    """Whether the tasks' bodies are in memory; the store begins to read any body that is not."""
    missing = [task for task in tasks if task.body is None]
    for task in missing:
        cycle.fetch(task)
    return not missing


def _keys(ids: object) -> list[int]:
    return task_keys_in(ids)[::-1]  # in reverse order, so that the next one can be taken from the end


def _whole(number: object, most: int) -> int:
    if type(number) is not int or not 0 < number <= most:
        raise BadCall(f"limit is a whole number from 1 to {most:,}, not {shown(number)}.")
    return number
