"""What is told of the store, and when."""

import asyncio
from collections.abc import Mapping
from typing import Any

from distq.master.store_watch import SLOW_S, TOLD_EVERY, StoreWatch


class FakeStore:
    """A store that says what it is told to say."""

    def __init__(self) -> None:
        self.said: Mapping[str, object] = {
            "kind": "sqlite",
            "refusing": "",
            "hangs": False,
            "broken": "",
            "file": "q.db",
        }

    async def health(self) -> Mapping[str, object]:
        """How it is."""
        return self.said


class FakeLog:
    """What was logged: event and fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        """Something that somebody must look at."""
        self.lines.append((event, fields))

    info = warning = error


def look(watch: StoreWatch, times: int = 1) -> None:
    """Have it look at the store so many times."""
    for _ in range(times):
        asyncio.run(watch.check())


def test_a_store_that_has_no_room_is_told_of_once_and_once_more_when_it_has() -> None:
    """The master is not ready meanwhile, with the store's own sentence."""
    store, log = FakeStore(), FakeLog()
    watch = StoreWatch(store, log)  # type: ignore[arg-type] # as much of a store as is looked at
    look(watch)
    assert (watch.not_ready(), log.lines) == (None, [])
    store.said = {**store.said, "refusing": "The volume of q.db has 3 MiB left."}
    look(watch, 3)
    assert watch.not_ready() == "The volume of q.db has 3 MiB left."
    store.said = {**store.said, "refusing": ""}
    look(watch, 3)
    assert watch.not_ready() is None
    assert [event for event, _ in log.lines] == ["store_refused", "store_recovered"]


def test_a_disk_that_does_not_answer_is_a_reason_too() -> None:
    """And so is a file that is broken: its own sentence says more."""
    store = FakeStore()
    watch = StoreWatch(store, FakeLog())  # type: ignore[arg-type] # as above
    store.said = {**store.said, "hangs": True}
    look(watch)
    assert watch.not_ready() == "The disk of q.db does not answer."
    store.said = {**store.said, "broken": "q.db could not be synced."}
    look(watch)
    assert watch.not_ready() == "q.db could not be synced."


def test_slow_commits_are_told_of_now_and_then() -> None:
    """How many, and the slowest; quick ones are only counted."""
    log = FakeLog()
    watch = StoreWatch(FakeStore(), log)  # type: ignore[arg-type] # as above
    for seconds in (0.001, SLOW_S + 1, SLOW_S):
        watch.committed(seconds)
    look(watch)
    assert log.lines == [("commits_were_slow", {"commits": 2, "slowest_s": SLOW_S + 1})]
    watch.committed(SLOW_S)
    look(watch, TOLD_EVERY - 1)
    assert len(log.lines) == 1
    look(watch)
    assert log.lines[1:] == [("commits_were_slow", {"commits": 1, "slowest_s": SLOW_S})]
    assert (sum(watch.commits.counts), watch.commits.sum_s) == (4, 0.001 + 3 * SLOW_S + 1)
