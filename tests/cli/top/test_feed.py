"""The thread that fetches pages: one connection, one call for each refresh, and a new connection after a loss."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.waiting import eventually

from distq.cli.top.feed import Answer, Event, Fatal, Feed, Lost, Page, Refused
from distq.net.dial import ConnectionLost
from distq.wire.errors import AuthenticationFailed, RemoteRefusal


class FakeMaster:
    """Answers calls at once, and counts them; the errors in `fails` come first."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.connections = 0
        self.fails: list[Exception] = []

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Yield a connection."""
        self.connections += 1
        yield self

    def call(self, _ident: str, _method: str, args: tuple[Any, ...], timeout_s: float) -> Any:
        """Answer with the arguments."""
        self.calls.append(args)
        if self.fails and (args[0] == "live" or isinstance(self.fails[0], RemoteRefusal)):
            raise self.fails.pop(0)
        return {"asked": args}

    def abort(self) -> None:
        """End nothing: no call waits."""


class Followed:
    """A feed and all its events."""

    def __init__(self, master: FakeMaster, every_s: float = 3600.0) -> None:
        self.events: list[Event] = []
        self.woken = threading.Event()
        self.feed = Feed(master.connect, every_s, self.woken.set)

    def await_event(self, kind: type[Event], number: int = 1) -> list[Any]:
        """Wait for `number` events of a kind."""

        def there() -> bool:
            self.events += self.feed.take()
            return len([event for event in self.events if isinstance(event, kind)]) >= number

        eventually(there, f"{number} x {kind.__name__}", lambda: self.events)
        return [event for event in self.events if isinstance(event, kind)]


def test_each_refresh_is_one_call_on_one_connection() -> None:
    """Twenty refreshes are twenty calls for a page."""
    master = FakeMaster()
    followed = Followed(master, every_s=0.001)
    followed.feed.start({"view": "queues"})
    followed.await_event(Page, 20)
    followed.feed.close()
    pages = followed.await_event(Page)
    assert master.calls == [("live", {"view": "queues"})] * len(master.calls)
    assert len(master.calls) - len(pages) in (0, 1)  # one may have been closed while it was posted
    assert master.connections == 1


def test_another_query_is_fetched_immediately_and_the_same_is_not() -> None:
    """A key does not wait for the next refresh."""
    master = FakeMaster()
    followed = Followed(master)
    followed.feed.start({"view": "queues"})
    followed.await_event(Page)
    followed.feed.show({"view": "queues"})
    followed.feed.show({"view": "workers"})
    assert followed.await_event(Page, 2)[1].query == {"view": "workers"}
    followed.feed.close()
    assert len(master.calls) == 2


def test_an_action_is_answered_and_the_page_follows() -> None:
    """A refused action does not end the connection."""
    master = FakeMaster()
    followed = Followed(master)
    followed.feed.start({})
    followed.await_event(Page)
    followed.feed.ask("show", {"id": "1-2a"})
    assert followed.await_event(Answer)[0] == Answer("show", {"asked": ("show", {"id": "1-2a"})})
    followed.await_event(Page, 2)
    master.fails.append(RemoteRefusal("no such task"))
    followed.feed.ask("cancel", {})
    assert followed.await_event(Refused)[0].reason.startswith("no such task")
    followed.await_event(Page, 3)
    followed.feed.close()
    assert master.connections == 1


def test_a_lost_master_is_reached_again_and_a_wrong_key_is_not() -> None:
    """The program draws the reason of the first, and ends with the second."""
    master = FakeMaster()
    master.fails = [ConnectionLost("gone"), AuthenticationFailed("the key is wrong")]
    followed = Followed(master)
    followed.feed.start({})
    assert followed.await_event(Lost)[0].reason.startswith("gone")
    assert isinstance(followed.await_event(Fatal)[0].error, AuthenticationFailed)
    followed.feed.close()
    assert master.connections == 2


def test_the_end_does_not_wait_for_a_frozen_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread may be connecting, which nothing can abort: it is a daemon, and the process ends without it."""
    waits: list[float | None] = []
    thawed = threading.Event()
    master = FakeMaster()
    connecting = threading.Event()

    @contextmanager
    def connect() -> Iterator[Any]:
        connecting.set()
        thawed.wait()
        yield master

    monkeypatch.setattr(threading.Thread, "join", lambda _thread, timeout=None: waits.append(timeout))
    feed = Feed(connect, 3600.0, lambda: None)
    try:
        feed.start({})
        eventually(connecting.is_set, "its attempt to connect")
        feed.close()
    finally:
        thawed.set()
    assert sum(math.inf if wait is None else wait for wait in waits) <= 0.5
    assert {thread.daemon for thread in threading.enumerate() if thread.name == "distq-top"} <= {True}
