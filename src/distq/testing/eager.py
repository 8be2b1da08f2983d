"""`distq.testing.eager`: tasks run at their submit in the calling thread, without processes."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, ParamSpec

from distq.client.client import Client, sessions_at
from distq.settings import Role
from distq.tasks.lifespan import tear_down_all
from distq.testing.cluster import (
    BASE,
    Tasks,
    checked_settings,
    module_names,
    settings_of,
    span_s,
)
from distq.testing.eager_master import EagerMaster, find_current, log
from distq.testing.eager_session import EagerSession
from distq.testing.host import EPOCHS
from distq.testing.submitted import SubmittedTask
from distq.testing.surroundings import Surroundings, surrounded_by

P = ParamSpec("P")

ADDRESS: Final = "127.0.0.1:1"
"""The address that the environment names inside the block; no connection is made to it."""


class Eager:
    """A running eager mode; `eager` makes it. Its methods are those of `Cluster`."""

    client: Client
    """A client whose tasks run at their submit. Other clients that this process makes inside the block do the same."""

    def __init__(self, master: EagerMaster, client: Client) -> None:
        self.client = client
        self._master = master

    @property
    def now(self) -> float:
        """The present instant of the master's clock, in seconds since 1970."""
        return self._master.clock.now()

    def drain(self) -> None:
        """Run every task that is ready or due now, such as those that a cancelled or refused wait has left."""
        self._master.work(lambda: False, self.now)

    def advance(self, *, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0) -> None:
        """Move the master's clock forward, and run what becomes due: scheduled runs, TTLs, as `Cluster.advance`.

        Raises:
            ValueError: the time is not above 0.
            TypeError: one of the times is not a number.
        """
        end_at = self.now + span_s(days, hours, minutes, seconds)
        self._master.work(lambda: False, end_at)
        self._master.move(end_at - self.now)

    def submitted(self, fn: Callable[..., Any] | None = None) -> tuple[SubmittedTask, ...]:
        """The tasks that were submitted by any client, of this function or all, the oldest first."""
        return self._master.submissions.calls(fn)

    def assert_submitted(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> SubmittedTask:
        """Return the newest task that calls `fn` with these arguments, as `Cluster.assert_submitted`.

        Raises:
            NotSubmitted: there is no such task; the text lists those that there are.
        """
        return self._master.submissions.find(fn, args, kwargs)


@contextmanager
def eager(tasks: Tasks | Iterable[Tasks] = (), *, settings: Mapping[str, str] | None = None) -> Iterator[Eager]:
    """Run tasks at their submit, in the thread that submits them: for unit tests without processes.

        with distq.testing.eager() as running:
            shop.orders.place(42)
            running.assert_submitted(shop.tasks.send_receipt, 42)

    Every `distq.Client()` that this process makes inside the block works so. The client, the checks of arguments and
    options, pickling both ways, the master's ledger and the code that calls a function are the real ones: a task gets
    copies of its arguments, its future has its result or its exception with the remote traceback, retries, unique keys,
    chains, streams and `distq.current()` work. `submit` returns when the task has ended. For delays and pauses before
    retries the master's clock moves forward, so nothing waits.

    Time limits, aborts, lost executors, and the output and memory of tasks need executors: use `cluster`.

    Args:
        tasks: modules to import, as for `cluster`. Only tasks that are submitted by a name of their own need this, and
            schedules at decorators, which run if one of these modules, or a submodule of one, declares them.
        settings: settings of master and worker by their names, such as `{"DISTQ_RETRIES": "0"}`.

    Raises:
        ImportError: a module in `tasks` cannot be imported.
        SettingsError: a setting is invalid or unknown, or one that the eager mode makes itself.
        TypeError: a setting is not a text.
    """
    modules = module_names(tasks)
    for name in modules:
        importlib.import_module(name)
    authkey = secrets.token_urlsafe(32)
    given = {**BASE, **checked_settings(settings), "DISTQ_ADDRESS": ADDRESS, "DISTQ_AUTHKEY": authkey}
    master = EagerMaster(settings_of(given, Role.MASTER), settings_of(given, Role.WORKER), next(EPOCHS))
    environ = {"DISTQ_ADDRESS": ADDRESS, "DISTQ_AUTHKEY": authkey}
    with surrounded_by(Surroundings(environ, partial(EagerSession, master=master), find_current)):
        client = Client(settings=settings_of(given, Role.CLIENT))
        master.declare_schedules(modules)
        try:
            yield Eager(master, client)
        finally:
            for session in sessions_at(settings_of(given, Role.CLIENT).address[0]):
                if isinstance(session, EagerSession) and session.is_with(master):
                    session.close()
            tear_down_all(log.warning)
