"""What an operator does with dead letters: look, have them tried again, let them go.

Every action goes through the broker's cycle, a thousand dead letters in each, so that a retry of a million
neither makes one enormous commit nor keeps others waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from distq.core import moves
from distq.core.errors import Undecided
from distq.core.head import unpack_dead
from distq.core.task import Task, deliveries_of, key_of, text_of
from distq.master.backups import BackupBegin, BackupRead
from distq.master.cancels import cancel_of
from distq.master.dead_choice import Chooser, learn, read_choice
from distq.master.declared import Declare
from distq.master.looks import Show, Stack
from distq.master.policies import ACTIONS as GOVERNING
from distq.master.policies import Govern
from distq.master.requests import Asked, Request
from distq.master.schedule_calls import ACTIONS as SCHEDULING
from distq.master.schedule_calls import Act
from distq.master.schedules import Schedules
from distq.master.task_list import TaskList
from distq.master.waits import Waits
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import Refused
    from distq.master.broker import Broker
    from distq.master.workers import Workers
    from distq.net.serve import Line

AT_ONCE: Final = 1_000
"""Dead letters of one cycle."""
ROWS_AT_ONCE: Final = 10_000
"""Rows of one cycle: a dead letter that has streamed has some for its parts."""
LISTED_MAX: Final = 10_000
READ_AT_ONCE: Final = 16
"""So many bodies of dead letters are in memory at once when only their causes are wanted."""

Filters = Mapping[str, Any]


class DeadList(Asked):
    """`dead_list`: the newest dead letters that are chosen, and how many there are."""

    __slots__ = ("chooser", "limit")

    def __init__(self, line: Line, asked: Filters) -> None:
        super().__init__(line)
        self.chooser = Chooser(read_choice(asked))
        self.limit = _whole(asked.get("limit", 100), LISTED_MAX)

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        return self.chooser.knows_enough(broker, self)

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102 - as Request
        total = sum(1 for _ in self.chooser.chosen(broker))
        newest = list(islice(self.chooser.chosen(broker, newest_first=True), self.limit))
        unknown = [task for task in newest if task.causes is None]
        for first in range(0, len(unknown), READ_AT_ONCE):
            chunk = unknown[first : first + READ_AT_ONCE]
            broker.read(self, [task.id for task in chunk], partial(learn, chunk))
        broker.read(
            self, (), lambda _: self.line.reply(returned({"total": total, "tasks": [row(task) for task in newest]}))
        )


class DeadShow(Asked):
    """`dead_show`: all that is known of one dead letter, its payload and its error as the bytes that they are."""

    __slots__ = ("key",)

    def __init__(self, line: Line, asked: Filters) -> None:
        super().__init__(line)
        (self.key,) = _keys([asked.get("id")])

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        if self.key not in broker.ledger.dead:
            raise BadCall(f"{text_of(self.key)} is not a dead letter.")
        return True

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        task = broker.ledger.dead.get(self.key)

        def reply(bodies: list[bytes | None]) -> None:
            if task is None or bodies[0] is None:
                self.refuse(BadCall(f"{text_of(self.key)} is a dead letter no more."))
                return
            learn([task], bodies)
            payload, error, _ = unpack_dead(bodies[0])
            self.line.reply(returned({**row(task), "payload": payload, "error": error}))

        broker.read(self, [self.key], reply)


class DeadLetters(Asked):
    """`dead_retry` and `dead_purge`: of the named ones, or of all that are chosen; `dry_run` only counts."""

    __slots__ = ("asked", "chooser", "done", "event", "keys", "lacking", "noted", "others", "taken", "told", "unknown")

    def __init__(self, line: Line, event: int, asked: Filters) -> None:
        super().__init__(line)
        self.event = event
        self.asked = asked
        self.chooser = Chooser(read_choice(asked), tells_errors=bool(asked.get("dry_run")))
        ids = asked.get("ids")
        self.keys: list[int] | None = None if ids is None else _keys(ids)
        """Those that are left, the next one last; None: not looked for yet."""
        self.done = 0
        self.noted: list[int] = []
        """What the present cycle has decided, and ..."""
        self.taken: list[int] = []
        """... the keys that it has looked at for that; ..."""
        self.lacking: list[str] = []
        """... of these the ones that are no dead letters, ..."""
        self.others: list[tuple[str, str]] = []
        """... and those whose unique key another task has, with that one."""
        self.unknown: list[str] = []
        self.told: list[tuple[str, str]] = []
        """Both of all cycles."""

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102 - as Request
        ledger = broker.ledger
        if not self.chooser.knows_enough(broker, self):
            return False
        if self.asked.get("dry_run"):
            return True
        if self.keys is None:
            self.keys = [task.id for task in self.chooser.chosen(broker)]
            self.keys.reverse()
        most = self._fitting(ledger)
        chunk = [task for key in self.keys[-most:] if (task := ledger.dead.get(key)) is not None]
        if self.event == moves.REQUEUE and not _bodies_are_there(broker, chunk):
            return False
        self.noted, self.taken, self.lacking, self.others = [], [], [], []
        if self.event == moves.REQUEUE:
            learn(chunk, [task.body for task in chunk])
        for _ in range(min(most, len(self.keys))):
            try:
                other = ledger.other_of(self.keys[-1], now) if self.event == moves.REQUEUE else None
            except Undecided:  # another dead letter of this cycle, or a submit, takes its unique key
                break
            self._settle(ledger, self.keys[-1], other)
            self.taken.insert(0, self.keys.pop())
        return True

    def _settle(self, ledger: Ledger, key: int, other: Task | None) -> None:
        if other is not None:
            self.others.append((text_of(key), text_of(other.id)))
        elif ledger.settle_dead(key, self.event):
            self.noted.append(key)
        elif self.asked.get("ids") is not None:
            self.lacking.append(text_of(key))

    def undo(self) -> None:  # noqa: D102 - as Request
        if self.keys is not None:
            self.keys += self.taken
        self.taken = []

    def _fitting(self, ledger: Ledger) -> int:
        """How many of the keys that are left go into one cycle, with the parts of their streams."""
        assert self.keys is not None
        count = room = 0
        for key in reversed(self.keys[-AT_ONCE:]):
            room += 1 + (ledger.extras.weight(key) if self.event == moves.DROP else 0)
            if count and room > ROWS_AT_ONCE:
                break
            count += 1
        return max(count, 1)

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        if self.asked.get("dry_run"):
            counts = self.chooser.counted(broker)
            self.line.reply(returned({"done": sum(row[-1] for row in counts), "unknown": [], "counts": counts}))
            return
        self.done += len(self.noted)
        self.unknown += self.lacking
        self.told += self.others
        if self.keys and self.line.open:
            broker.ask(self)
        else:
            taken = {"taken": self.told} if self.told else {}
            self.line.reply(returned({"done": self.done, "unknown": self.unknown, **taken}))

    def put_back(self, broker: Broker, exc: Refused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


class Admin:
    """What `admin(what, asked)` offers."""

    def __init__(self, broker: Broker, workers: Workers, schedules: Schedules) -> None:
        self.actions: Mapping[str, Callable[[Line, Filters], Request]] = {
            "backup_begin": lambda line, _: BackupBegin(line),
            "backup_read": BackupRead,
            "cancel": lambda line, asked: cancel_of(broker, workers, line, asked),
            "dead_list": DeadList,
            "dead_purge": lambda line, asked: DeadLetters(line, moves.DROP, asked),
            "dead_retry": lambda line, asked: DeadLetters(line, moves.REQUEUE, asked),
            "dead_show": DeadShow,
            "list": partial(TaskList, broker),
            "schedule_declare": lambda line, asked: Declare(line, schedules, asked),
            "show": lambda line, asked: Show(line, workers, asked),
            "stack": lambda line, asked: Stack(line, workers, asked),
            "wait": Waits(workers).request,
            **{action: partial(_govern, action) for action in GOVERNING},
            **{action: partial(_schedule, schedules, action) for action in SCHEDULING},
        }

    def request(self, line: Line, args: tuple[Any, ...]) -> Request:
        """The request of a call; raises BadCall for anything that is not offered."""
        what, asked = (*args, None, None)[:2]
        action = self.actions.get(what) if isinstance(what, str) else None
        asked = {} if asked is None else asked
        if action is None or not isinstance(asked, dict):
            raise BadCall(f"admin(what, asked) takes a dict, and there is {', '.join(self.actions)}.")
        return action(line, asked)


def _govern(action: str, line: Line, asked: Filters) -> Request:
    return Govern(line, action, asked)


def _schedule(schedules: Schedules, action: str, line: Line, asked: Filters) -> Request:
    return Act(line, schedules, action, asked)


def row(task: Task) -> dict[str, Any]:
    """What is told of a dead letter without its body; times are seconds since 1970."""
    envelope = task.envelope
    return {
        "id": text_of(task.id),
        "queue": envelope.queue.name,
        "name": envelope.name,
        "kind": envelope.kind,
        "failures": task.failures,
        "lost": task.lost,
        "deliveries": deliveries_of(task.delivery),
        "submitted_at": task.submitted_at,
        "died_at": task.since,
        "causes": list(task.causes or ()),
    }


def _bodies_are_there(broker: Broker, tasks: list[Task]) -> bool:
    """Whether the tasks' bodies are in memory; those that are not are on their way then."""
    missing = [task for task in tasks if task.body is None]
    for task in missing:
        broker.fetch(task)
    return not missing


def _keys(ids: object) -> list[int]:
    if not isinstance(ids, list | tuple):
        raise BadCall("ids are a list of texts.")
    try:
        # Backwards, so that the next one can be taken from the end.
        return [key_of(text) for text in reversed(dict.fromkeys(ids))]
    except (ValueError, AttributeError, TypeError) as exc:
        raise BadCall("A task id is two hexadecimal numbers, as in 1a-2f.") from exc


def _whole(number: object, most: int) -> int:
    if type(number) is not int or not 0 < number <= most:
        raise BadCall(f"limit is 1 to {most:,}.")
    return number
