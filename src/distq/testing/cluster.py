"""`distq.testing.cluster`: a real master and real executors for a test, whose clock the test moves."""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Number
from types import ModuleType
from typing import Any, Final, ParamSpec

from distq.client.client import Client, sessions_at
from distq.client.session import ClientRuntime
from distq.client.session_port import SessionPort
from distq.core.ranges import shown
from distq.settings import Role, Settings, SettingsError, load
from distq.settings.load import PREFIX, unknown_sentence
from distq.tasks.function import spec_of
from distq.testing.errors import TasksUnfinished
from distq.testing.host import ClusterHost
from distq.testing.master_watch import monotonic
from distq.testing.submitted import SubmittedTask
from distq.testing.surroundings import Surroundings, surrounded_by

P = ParamSpec("P")

Tasks = str | ModuleType | Callable[..., Any]
"""A module, its name, or a function whose module the executors import."""

LIMIT_S: Final = 60.0
"""Default maximum of real seconds that `drain` and `advance` wait."""
BASE: Final = {
    "DISTQ_BIND": "127.0.0.1:0",
    "DISTQ_HTTP_ADDRESS": "off",
    "DISTQ_STORE": "memory:",
    "DISTQ_CAPTURE_OUTPUT": "0",
    "DISTQ_DRAIN_S": "1s",
}
"""The settings of a test cluster that differ from the defaults: the output of tasks goes to the test's own output."""
FIXED: Final = frozenset(
    {"DISTQ_ADDRESS", "DISTQ_BIND", "DISTQ_HTTP_ADDRESS", "DISTQ_STORE", "DISTQ_AUTHKEY", "DISTQ_AUTHKEY_FILE"}
    | {"DISTQ_TASKS", "DISTQ_CONCURRENCY", "DISTQ_TLS_CERT", "DISTQ_TLS_KEY", "DISTQ_TLS_CA"}
)
"""The settings that a test cluster makes itself, or leaves out because it has no TLS."""
DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
MINUTE_S: Final = 60.0


class Cluster:
    """A running test cluster; `cluster` makes it."""

    client: Client
    """A connected client. Other clients of this process that read the environment use the cluster too."""
    address: str
    """The address of the master, as `host:port`."""
    authkey: str
    """The key of the cluster, which is made for it."""

    def __init__(self, host: ClusterHost, client: Client, authkey: str) -> None:
        self.client = client
        self.address = str(host.address)
        self.authkey = authkey
        self._host = host

    @property
    def now(self) -> float:
        """The present instant of the master's clock, in seconds since 1970."""
        return self._host.clock.now()

    def drain(self, timeout: float = LIMIT_S) -> None:
        """Return when no task is ready, runs or is due now, and the clients of this process have every result.

        Tasks that wait for a later instant (a delay, a retry, a scheduled run) stay: `advance` reaches them. Tasks of a
        paused queue, of one whose rate is used up, and all tasks inside of `hold`, stay too.

        Raises:
            TasksUnfinished: tasks still run after `timeout` seconds, or no executor of the cluster can run them.
        """
        self._drain(monotonic() + timeout)

    def advance(
        self,
        *,
        days: float = 0.0,
        hours: float = 0.0,
        minutes: float = 0.0,
        seconds: float = 0.0,
        wait: bool = True,
        heartbeats: bool = True,
        timeout: float = LIMIT_S,
    ) -> None:
        """Move the master's clock forward, through every instant at which something is due.

        At each instant the master does what is due, and the tasks that became ready run to their end before the clock
        moves on: three hours of an hourly schedule are three runs. Delays, `eta`, pauses before retries, `cron` and
        `every`, `expires`, `unique_for`, `debounce`, rates, and the TTLs of results and dead letters follow this clock.
        The machine's clock stays, and with it all that is measured elsewhere: time limits, timeouts of clients, and
        what tasks read from the `time` module.

        Args:
            days: days to add to the time.
            hours: hours to add to the time.
            minutes: minutes to add to the time.
            seconds: seconds to add to the time.
            wait: whether tasks run before the clock moves on; without it, running tasks stay where they are.
            heartbeats: whether the worker renews its leases meanwhile, as a healthy one does. Without it, leases end
                DISTQ_LEASE_S after the last heartbeat, as those of a lost worker, and `wait` has no effect.
            timeout: maximum real seconds of the call.

        Raises:
            ValueError: the time is not above 0.
            TypeError: one of the times is not a number.
            TasksUnfinished: as in `drain`.
        """
        by_s = span_s(days, hours, minutes, seconds)
        until_at = monotonic() + timeout
        wait = wait and heartbeats
        if wait:
            self._drain(until_at)
        else:
            self._accepted(until_at)
        self._host.ask(partial(self._host.watch.advance, by_s, until_at, wait=wait, heartbeats=heartbeats))
        if wait:
            self._drain(until_at)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no executor take a task inside the `with` block: tasks wait, and expire as time advances."""
        self._host.ask(partial(self._hold, held=True))
        try:
            yield
        finally:
            self._host.ask(partial(self._hold, held=False))

    async def _hold(self, *, held: bool) -> None:
        self._host.watch.hold(held=held)

    def submitted(self, fn: Callable[..., Any] | None = None) -> tuple[SubmittedTask, ...]:
        """The tasks that the master has accepted from any client, of this function or all, the oldest first.

        Tasks that tasks and schedules have submitted are among them, and those that have ended or expired.
        """
        self._accepted(monotonic() + LIMIT_S)
        return self._host.submissions.calls(fn)

    def assert_submitted(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> SubmittedTask:
        """Return the newest task that calls `fn` with these arguments; `unittest.mock.ANY` equals every argument.

        `f(1)` and `f(x=1)` are equal, and so is an argument that equals the parameter's default and one left out. An
        argument that does not equal its own copy (NaN, an array, an object without `==`) is compared by its pickle.

        Raises:
            NotSubmitted: there is no such task; the text lists those that there are.
            NotATask, TypeError: as in `Submitter.submit`.
        """
        self._accepted(monotonic() + LIMIT_S)
        return self._host.submissions.find(fn, args, kwargs)

    # -- inside --------------------------------------------------------------------------------------

    def _sessions(self) -> list[SessionPort]:
        return sessions_at(self._host.address)

    def _accepted(self, until_at: float) -> None:
        """Wait until the master has answered every submit of this process."""
        for session in self._sessions():
            if not session.wait_until_accepted(max(until_at - monotonic(), 0.0)):
                raise TasksUnfinished("The master has not accepted every submit in time.")

    def _drain(self, until_at: float) -> None:
        count = -1
        while count != (count := len(self._host.submissions)):  # a result may make the test's process submit more
            self._accepted(until_at)
            self._host.ask(partial(self._host.watch.wait_until_quiet, until_at))
            self._collected(until_at)

    def _collected(self, until_at: float) -> None:
        """Wait until the clients of this process have the results of all tasks that have ended."""
        for session in self._sessions():
            futures = {future.task_key: future for future in session.pending_futures() if future.task_key is not None}
            for key in self._ended(list(futures)):
                with suppress(TimeoutError, CancelledError):
                    futures[key].wait_until_ended(max(until_at - monotonic(), 0.0))

    def _ended(self, keys: list[int]) -> set[int]:
        async def live() -> set[int]:
            return self._host.watch.live(keys)

        return set(keys) - self._host.ask(live) if keys else set()


def span_s(days: float, hours: float, minutes: float, seconds: float) -> float:
    """The seconds by which `advance` moves a clock; raises ValueError, TypeError."""
    given = {"days": (days, DAY_S), "hours": (hours, HOUR_S), "minutes": (minutes, MINUTE_S), "seconds": (seconds, 1.0)}
    by_s = sum(_number(name, count) * unit_s for name, (count, unit_s) in given.items())
    if not 0 < by_s < float("inf"):
        raise ValueError(f"advance() moves the clock forward, by more than 0 s, not by {by_s:g} s")
    return by_s


def _number(name: str, count: object) -> float:
    """The number that `advance` takes for a unit of time; raises TypeError."""
    if isinstance(count, Number) and not isinstance(count, bool | complex):
        try:
            return float(count)  # type: ignore[arg-type] # a number that is not complex
        except OverflowError:  # a whole number beyond the range of a float
            return math.inf
    raise TypeError(f"{name} of advance() is a number, not {shown(count)}")


@contextmanager
def cluster(
    tasks: Tasks | Iterable[Tasks] = (), *, concurrency: int = 2, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Start a real master and real executors for a test, and end them with the `with` block.

        with distq.testing.cluster("shop.tasks") as cluster:
            shop.orders.place(42)
            cluster.drain()
            cluster.assert_submitted(shop.tasks.send_receipt, 42)

    The master runs in a thread of this process and keeps its tasks in memory; each executor is a child process. Inside
    the block, DISTQ_ADDRESS and DISTQ_AUTHKEY of this process's environment name the cluster, and every other `DISTQ_`
    variable is away: `distq.Client()` of the tested code connects to the cluster. The end of the block closes every
    client of the cluster, and gives running tasks a second before it kills their executors. Several clusters may run at
    the same time. Executors end with this process, however it ends.

    Args:
        tasks: what the executors import: modules, names of modules, or functions, which stand for their modules. A
            function without a name of its own is found by its import path without this.
        concurrency: the number of executors.
        settings: further settings of master and worker by their names, such as `{"DISTQ_RETRIES": "0"}`.

    Raises:
        NotATask: a function in `tasks` cannot be imported by an executor.
        ClusterNotStarted: an executor cannot import a module; the text says why.
        SettingsError: a setting is invalid or unknown, or one that the cluster makes itself.
        TypeError: a setting is not a text.
    """
    authkey = secrets.token_urlsafe(32)
    given = {**BASE, **checked_settings(settings), "DISTQ_AUTHKEY": authkey, "DISTQ_CONCURRENCY": str(concurrency)}
    given["DISTQ_TASKS"] = ",".join(module_names(tasks))
    host = ClusterHost(settings_of(given, Role.MASTER), settings_of(given, Role.WORKER), _environment())
    process = os.getpid()
    try:
        host.start()
        environ = {"DISTQ_ADDRESS": str(host.address), "DISTQ_AUTHKEY": authkey}
        with surrounded_by(Surroundings(environ, ClientRuntime, None)):
            client = Client(settings=settings_of({**given, "DISTQ_ADDRESS": str(host.address)}, Role.CLIENT))
            yield Cluster(host, client, authkey)
    finally:
        if os.getpid() == process:  # a child that the test has forked leaves the cluster to its parent
            for session in sessions_at(host.address) if hasattr(host, "address") else ():
                session.close()
            host.stop()


def checked_settings(settings: Mapping[str, str] | None) -> Mapping[str, str]:
    """The settings that a test gives; raises SettingsError for an unknown one or one of the cluster's own, TypeError.

    `load` ignores a name without the prefix of settings, which an environment may have.
    """
    for name, text in (settings or {}).items():
        if isinstance(name, str) and not name.upper().startswith(PREFIX):
            raise SettingsError(unknown_sentence(name))
        if not isinstance(text, str):
            raise TypeError(f"{name} in `settings` is {shown(text)}, of the type {type(text).__name__}: give text")
    if taken := sorted(FIXED & (settings or {}).keys()):
        raise SettingsError(f"A test cluster has its own {taken[0]}: leave it out of `settings`.")
    return settings or {}


def settings_of(given: Mapping[str, str], role: Role) -> Settings:
    """Read settings; raises SettingsError, also for an unknown one."""
    loaded = load(given, role)
    if loaded.warnings:
        raise SettingsError(loaded.warnings[0])
    return loaded.settings


def module_names(tasks: Tasks | Iterable[Tasks]) -> list[str]:
    """The names of the modules, each once; raises NotATask, TypeError."""
    every = [tasks] if isinstance(tasks, str | ModuleType) or callable(tasks) else list(tasks)
    names = []
    for one in every:
        if isinstance(one, str):
            names.append(one)
        elif isinstance(one, ModuleType):
            names.append(one.__name__)
        elif callable(one):
            spec_of(one)
            names.append(str(one.__module__))
        else:
            raise TypeError(f"tasks takes modules, names of modules, and functions, not {shown(one)}")
    return list(dict.fromkeys(names))


def _environment() -> dict[str, str]:
    """The environment of executors: without settings, and with this process's `sys.path`."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    return {**environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path)}  # noqa: PTH100 - '' too
