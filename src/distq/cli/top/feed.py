"""Fetches the pages of `distq top` in a thread, on one connection: one call for each refresh."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from distq.cli.ask import PATIENCE_S
from distq.core.errors import DistqError
from distq.net.dial import Connection
from distq.protocol.methods import ADMIN, BROKER
from distq.wire.errors import AuthenticationFailed, RemoteRefusal

RECONNECT_S: Final = 1.0
"""Pause between two attempts to reach a lost master."""
CLOSE_S: Final = 0.2
"""Maximum seconds in which the thread may end; one that connects to a frozen master ends with the process instead."""
ANSWER_S: Final = 30.0
"""Maximum seconds for the answer to an action: a worker reports a stack within 5 s."""

Query = dict[str, Any]
_now = time.monotonic  # noqa: TID251 - the edge: the pace of the refreshes


class Page(NamedTuple):
    """The master's answer to a query for a page."""

    query: Query
    answer: dict[str, Any]


class Answer(NamedTuple):
    """The master's answer to an action."""

    what: str
    answer: Any


class Refused(NamedTuple):
    """The reason for which the master refused an action."""

    reason: str


class Lost(NamedTuple):
    """The reason for which the master does not answer; the thread connects again."""

    reason: str


class Fatal(NamedTuple):
    """The error that ends the program."""

    error: Exception


News = Page | Answer | Refused | Lost
Event = News | Fatal
Connect = Callable[[], AbstractContextManager[Connection]]


class Feed:
    """The thread that asks the master, and the events for the thread that draws."""

    def __init__(self, connect: Connect, every_s: float, notify: Callable[[], None]) -> None:
        self._connect = connect
        self._every_s = every_s
        self._notify = notify
        self._query: Query = {}
        self._asked: deque[tuple[str, Query]] = deque()
        self._events: deque[Event] = deque()
        self._changed = threading.Event()
        self._closed = False
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="distq-top", daemon=True)

    def start(self, query: Query) -> None:
        """Fetch the first page, and further ones every `every_s` seconds."""
        self._query = query
        self._thread.start()

    def show(self, query: Query) -> None:
        """Fetch another page, immediately if it differs from the present one."""
        if query != self._query:
            self._query = query
            self._changed.set()

    def ask(self, what: str, asked: Query) -> None:
        """Ask the master for an action."""
        self._asked.append((what, asked))
        self._changed.set()

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """End the connection, and the thread soon; it does not wait for a master that does not answer."""
        self._closed = True
        self._changed.set()
        connection = self._connection
        if connection is not None:
            connection.abort()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._closed:
            try:
                with self._connect() as connection:
                    self._connection = connection
                    self._serve(connection)
            except (AuthenticationFailed, RemoteRefusal) as error:
                self._post(Fatal(error))
                return
            except DistqError as error:
                self._asked.clear()  # an action must not run when its screen is long gone
                self._post(Lost(str(error)))
                self._changed.wait(RECONNECT_S)
                self._changed.clear()
            except Exception as error:  # noqa: BLE001 - the drawing thread ends the program with it
                self._post(Fatal(error))
                return

    def _serve(self, connection: Connection) -> None:
        due_at = _now()
        while not self._closed:
            while self._asked:
                what, asked = self._asked.popleft()
                try:
                    answer = connection.call(BROKER, ADMIN, (what, asked), timeout_s=ANSWER_S)
                    self._post(Answer(what, answer))
                except RemoteRefusal as error:
                    self._post(Refused(str(error)))
            query = self._query
            page: Any = connection.call(BROKER, ADMIN, ("live", query), timeout_s=PATIENCE_S)
            self._post(Page(query, page))
            due_at = max(due_at + self._every_s, _now())
            self._changed.wait(due_at - _now())
            self._changed.clear()

    def _post(self, event: Event) -> None:
        if not self._closed:
            self._events.append(event)
            self._notify()
