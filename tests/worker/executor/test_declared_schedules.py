"""Tests of the schedules that a worker's modules declare and the worker sends to the master."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from distq.core.schedule import Timing
from distq.net.dial import Connection
from distq.tasks import function
from distq.tasks.function import task
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.declared_schedules import declarations, declare
from distq.worker.shared.executor_config import ExecutorConfig


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module that contains all declared tasks."""
    made = ModuleType("declared_tasks")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(function, "_named", {})
    return made


def define(module: ModuleType, run: Any, **options: Any) -> None:
    """Define a task in the module."""
    run.__module__, run.__qualname__ = module.__name__, run.__name__
    setattr(module, run.__name__, task(**options)(run))


class FakeConnection:
    """A connection that keeps the requests."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.calls: list[Any] = []

    def call(self, ident: str, method: str, args: tuple[Any, ...], timeout_s: float) -> Any:
        """Return the reply that the test has set."""
        self.calls.append(args)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def warnings_of(connection: FakeConnection, schedules: str = "keep") -> list[str]:
    """Return the warnings about a declaration over this connection."""
    warnings: list[str] = []
    no_keys = {"signing_keys": (), "encryption_keys": (), "unsigned": "", "key_files": {}}
    orders = SimpleNamespace(modules=("declared_tasks",), schedules=schedules, **no_keys)
    declare(cast("Connection", connection), cast("ExecutorConfig", orders), 7.0, warnings.append)
    return warnings


def test_each_task_with_a_schedule_is_declared_with_its_options(module: ModuleType) -> None:
    """The worker warns of a task that needs arguments, and leaves out tasks without a schedule."""

    def tick(amount: int = 1) -> int:
        return amount

    def nightly() -> None:
        """Run once a day."""

    def needs_arguments(what: str, *, how: str) -> str:
        return what + how

    def plain() -> None:
        """Run when it is submitted."""

    define(module, tick, every="2s", queue="clock", catch_up="none")
    define(module, nightly, name="nightly", cron="0 2 * * *", timezone="Europe/Rome", overlap=True)
    define(module, needs_arguments, every=5)
    define(module, plain)
    warnings: list[str] = []
    rows = {row["name"]: row for row in declarations(warnings.append)}
    assert {name: (row["every"], row["cron"], row["timezone"], row["overlap"]) for name, row in rows.items()} == {
        "declared_tasks:tick": (2.0, None, None, None),
        "nightly": (None, "0 2 * * *", "Europe/Rome", True),
    }
    assert rows["declared_tasks:tick"]["envelope"][:2] == ("clock", "declared_tasks:tick")
    assert len(warnings) == 1
    assert "needs the arguments what, how" in warnings[0]
    assert Timing._fields[0] == "every_s"


def test_the_master_receives_the_declarations_and_the_worker_logs_the_stale_ones(module: ModuleType) -> None:
    """The worker sends no request if its modules declare nothing, or if its settings forbid it."""
    connection = FakeConnection({"declared": {"declared_tasks:tick": "a client has made it."}, "removed": []})
    assert warnings_of(connection) == []
    assert connection.calls == []

    def tick() -> None:
        """Tick."""

    define(module, tick, every=1)
    assert warnings_of(connection, "off") == []
    assert connection.calls == []
    (warning,) = warnings_of(connection)
    assert warning.endswith("is not registered: a client has made it.")
    ((method, declaration),) = connection.calls
    assert (method, declaration["modules"], declaration["age_s"], declaration["remove"]) == (
        "schedule_declare",
        ["declared_tasks"],
        7.0,
        False,
    )
    warnings_of(connection, "remove")
    assert connection.calls[-1][1]["remove"] is True


def test_a_master_that_refuses_declarations_does_not_end_the_worker(module: ModuleType) -> None:
    """The worker warns, and runs tasks."""

    def tick() -> None:
        """Tick."""

    define(module, tick, every=1)
    (warning,) = warnings_of(FakeConnection(RemoteRefusal("no such thing")))
    assert "takes no schedules that code declares: no such thing" in warning
