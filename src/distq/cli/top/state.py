"""What `distq top` shows, and what each key changes; it does no I/O."""

from dataclasses import dataclass, field
from typing import Any, Final

from distq.cli.text import printable, printable_lines
from distq.cli.top.feed import Answer, Lost, News, Page, Query, Refused
from distq.cli.top.rates import Rates

VIEWS: Final = ("queues", "workers", "running", "failures")
SORTS: Final = {
    "queues": ("ready", "running", "delayed", "dead", "name"),
    "workers": ("name", "busy", "memory", "seen"),
    "running": ("longest", "newest", "name", "queue"),
    "failures": ("newest",),
}
"""The sorts that the master offers for each view."""
FRAME_ROWS: Final = 7
"""Rows of the screen around a table: four of totals and views, its head, a message, the keys."""
FILTER_CHARS_MAX: Final = 60
TOTALS: Final = ("submitted", "completed", "failed")


@dataclass
class Detail:
    """One task that is shown alone."""

    task_id: str
    title: str
    lines: list[str] = field(default_factory=lambda: ["…"])
    top: int = 0
    """The first line that is shown."""


@dataclass
class Question:
    """An action that waits for its confirmation."""

    text: str
    what: str
    asked: Query


class State:
    """The view, its sort, filter and selection, the newest page, and the task that is shown alone."""

    def __init__(self) -> None:
        self.view = VIEWS[0]
        self.sorts = dict.fromkeys(VIEWS, 0)
        self.filters = dict.fromkeys(VIEWS, "")
        self.typed: str | None = None
        """The filter while it is typed."""
        self.offset = 0
        self.selected = 0
        self.page: dict[str, Any] | None = None
        self.rates = Rates()
        self.detail: Detail | None = None
        self.question: Question | None = None
        self.helps = False
        self.message = ""
        self.lost = ""
        self.ended = False
        self.rows = 24 - FRAME_ROWS
        """Rows of the table that fit the screen."""
        self.actions: list[tuple[str, Query]] = []
        """Actions that the master has not been asked for yet."""

    @property
    def query(self) -> Query:
        """The page that the screen shows."""
        return {
            "view": self.view,
            "sort": SORTS[self.view][self.sorts[self.view]],
            "filter": self.filters[self.view],
            "offset": self.offset,
            "limit": self.rows,
        }

    def resize(self, height: int) -> None:
        """Fit the table to a screen with `height` rows."""
        self.rows = max(height - FRAME_ROWS, 1)
        self.selected = min(self.selected, self.rows - 1)

    # -- events of the master --------------------------------------------------------------------

    def receive(self, event: News) -> None:
        """Take over an answer of the master."""
        match event:
            case Page(query, answer):
                self.lost = ""
                self._note_rates(query, answer)
                if query == self.query:
                    self.page = answer
                    self.selected = max(min(self.selected, len(answer["rows"]) - 1), 0)
            case Answer(what, answer):
                self._receive_answer(what, answer)
            case Refused(reason):
                if self.detail is not None and self.detail.lines == ["…"]:
                    self.detail.lines = [printable(reason)]
                else:
                    self.message = printable(reason)
            case Lost(reason):
                self.lost = printable(reason)

    def _note_rates(self, query: Query, answer: dict[str, Any]) -> None:
        for word in TOTALS:
            self.rates.note(f"total {word}", answer["at"], answer["totals"][word])
        if query["view"] == "queues":
            for row in answer["rows"]:
                for word in TOTALS[:2]:
                    if row[word] is not None:
                        self.rates.note(f"{word} {row['name']}", answer["at"], row[word])
            self.rates.discard_unused(answer["at"])

    def _receive_answer(self, what: str, answer: Any) -> None:
        if what == "cancel":
            running = answer["running"]
            self.message = f"{answer['done']} cancelled." if not running else "The task continues to run."
            if answer["over"]:
                self.message = "The task has ended already."
        elif what == "dead_retry":
            self.message = f"{answer['done']} will be retried."
            if answer["unknown"]:
                self.message = "The task is no dead letter any more."
            if taken := answer.get("taken"):
                self.message = f"Task {printable(taken[0][1])} has its unique key."
        elif self.detail is not None and what == "show" and answer["id"] == self.detail.task_id:
            from distq.cli.show import lines_of

            self.detail.title, *self.detail.lines = lines_of(answer)
        elif self.detail is not None and what == "stack":
            stack = printable_lines(answer["stack"])
            self.detail.lines = stack.splitlines() or ["The task is about to start, or has just ended."]
            self.detail.top = 0

    # -- keys ------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Change what is shown as a key says."""
        if self.typed is not None:
            self._type(key)
        elif self.question is not None:
            self._confirm(key)
        elif self.helps:
            self.helps = False
        elif key == "q":
            self.ended = True
        elif key == "?":
            self.helps = True
        elif key in ("c", "r", "t"):
            self._act(key)
        elif self.detail is not None:
            self._press_in_detail(self.detail, key)
        else:
            self._press_in_table(key)

    def _type(self, key: str) -> None:
        assert self.typed is not None
        if key == "enter":
            self.filters[self.view], self.typed = self.typed, None
            self._move_to(0)
        elif key == "escape":
            self.typed = None
        elif key == "backspace":
            self.typed = self.typed[:-1]
        elif len(key) == 1 and key.isprintable() and len(self.typed) < FILTER_CHARS_MAX:
            self.typed += key

    def _confirm(self, key: str) -> None:
        assert self.question is not None
        if key == "y":
            self.actions.append((self.question.what, self.question.asked))
            self.message = "…"
        else:
            self.message = "Nothing was done."
        self.question = None

    def _press_in_detail(self, detail: Detail, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.rows, "page down": self.rows}
        if key in ("escape", "backspace"):
            self.detail = None
            self.message = ""
        elif key in ("w", "enter"):
            self._show(detail)
        elif key in steps:
            detail.top = max(min(detail.top + steps[key], len(detail.lines) - self.rows), 0)

    def _press_in_table(self, key: str) -> None:
        self.message = ""
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.rows, "page down": self.rows}
        if key in ("1", "2", "3", "4"):
            self._change_view(VIEWS[int(key) - 1])
        elif key == "tab":
            self._change_view(VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)])
        elif key == "s":
            self.sorts[self.view] = (self.sorts[self.view] + 1) % len(SORTS[self.view])
            self._move_to(0)
        elif key == "/":
            self.typed = self.filters[self.view]
        elif key == "escape":
            self.filters[self.view] = ""
            self._move_to(0)
        elif key in steps:
            self._move_to(self.offset + self.selected + steps[key])
        elif key in ("home", "end"):
            self._move_to(0 if key == "home" or self.page is None else self.page["matched"] - 1)
        elif key == "enter":
            self._open()

    def _change_view(self, view: str) -> None:
        if view != self.view:
            self.view, self.page = view, None
            self.offset = self.selected = 0

    def _move_to(self, place: int) -> None:
        """Select the row at a place of all that match the filter, and turn the page if it is on another one."""
        last = 0 if self.page is None else max(self.page["matched"] - 1, 0)
        place = max(min(place, last), 0)
        self.offset = place // self.rows * self.rows
        self.selected = place - self.offset

    @property
    def row(self) -> dict[str, Any] | None:
        """The selected row."""
        rows = [] if self.page is None else self.page["rows"]
        return rows[self.selected] if self.selected < len(rows) else None

    def _open(self) -> None:
        row = self.row
        if row is None:
            return
        if self.view in ("queues", "workers"):
            self._change_view("running")
            self.filters["running"] = row["name"][:FILTER_CHARS_MAX]
        else:
            self.detail = Detail(row["id"], printable(f"{row['id']}  {row['name']} on the queue {row['queue']}"))
            self._show(self.detail)

    def _show(self, detail: Detail) -> None:
        detail.top = 0
        self.actions.append(("show", {"id": detail.task_id}))

    def _act(self, key: str) -> None:
        """Ask for a confirmation of cancel and retry; show the stack."""
        row = self.row if self.view in ("running", "failures") else None
        task_id = self.detail.task_id if self.detail is not None else row["id"] if row is not None else None
        if task_id is None:
            self.message = "Choose a task first: 3 shows running tasks, 4 shows failures."
        elif key == "c":
            asked = {"ids": [task_id], "running": True}
            self.question = Question(f"Cancel task {task_id}? A running one is stopped. [y/N]", "cancel", asked)
        elif key == "r":
            self.question = Question(f"Retry the dead letter {task_id}? [y/N]", "dead_retry", {"ids": [task_id]})
        else:
            if self.detail is None:
                assert row is not None
                self.detail = Detail(task_id, printable(f"{task_id}  {row['name']} on the queue {row['queue']}"))
            self.detail.lines = ["…"]
            self.actions.append(("stack", {"id": task_id}))
