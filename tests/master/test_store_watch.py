"""The watch on the store: which of its states are logged, how often, and when the master is not ready."""

import asyncio
from collections.abc import Mapping
from typing import Any

from distq.master.store_watch import CHECKS_PER_WARNING, SLOW_S, StoreWatch


class FakeStore:
    """A store whose health the test sets."""

    def __init__(self) -> None:
        self.health_values: Mapping[str, object] = {
            "kind": "sqlite",
            "refusing": "",
            "hangs": False,
            "broken": "",
            "file": "q.db",
        }

    async def health(self) -> Mapping[str, object]:
        """How it is."""
        return self.health_values


class FakeLog:
    """A log that records each event and its fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        """Record a warning."""
        self.lines.append((event, fields))

    info = warning = error


def check(watch: StoreWatch, times: int = 1) -> None:
    """Let the watch check the store this many times."""
    for _ in range(times):
        asyncio.run(watch.check())


def test_a_full_store_is_logged_once_and_its_recovery_too() -> None:
    """The master is not ready meanwhile, with the store's own sentence."""
    store, log = FakeStore(), FakeLog()
    watch = StoreWatch(store, log)  # type: ignore[arg-type] # as much of a store as is looked at
    check(watch)
    assert (watch.not_ready(), log.lines) == (None, [])
    store.health_values = {**store.health_values, "refusing": "The volume of q.db has 3 MiB left."}
    check(watch, 3)
    assert watch.not_ready() == "The volume of q.db has 3 MiB left."
    store.health_values = {**store.health_values, "refusing": ""}
    check(watch, 3)
    assert watch.not_ready() is None
    assert [event for event, _ in log.lines] == ["store_refused", "store_recovered"]


def test_a_master_whose_disk_does_not_answer_is_not_ready() -> None:
    """The master is not ready with a broken file either, and then shows the store's own sentence."""
    store = FakeStore()
    watch = StoreWatch(store, FakeLog())  # type: ignore[arg-type] # as above
    store.health_values = {**store.health_values, "hangs": True}
    check(watch)
    assert watch.not_ready() == "The disk of q.db does not answer."
    store.health_values = {**store.health_values, "broken": "q.db could not be synced."}
    check(watch)
    assert watch.not_ready() == "q.db could not be synced."


def test_slow_commits_are_logged_at_most_once_an_interval() -> None:
    """The entry has their number and the slowest; fast commits are only counted."""
    log = FakeLog()
    watch = StoreWatch(FakeStore(), log)  # type: ignore[arg-type] # as above
    for seconds in (0.001, SLOW_S + 1, SLOW_S):
        watch.committed(seconds)
    check(watch)
    assert log.lines == [("commits_were_slow", {"commits": 2, "slowest_s": SLOW_S + 1})]
    watch.committed(SLOW_S)
    check(watch, CHECKS_PER_WARNING - 1)
    assert len(log.lines) == 1
    check(watch)
    assert log.lines[1:] == [("commits_were_slow", {"commits": 1, "slowest_s": SLOW_S})]
    assert (sum(watch.commits.counts), watch.commits.sum_s) == (4, 0.001 + 3 * SLOW_S + 1)
