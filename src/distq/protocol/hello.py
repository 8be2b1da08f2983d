"""The first call on a connection: the peer says who it is, and the master greets it.

Both travel as dicts, so that a peer of another version can leave out a key, or add one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from distq._version import __version__
from distq.core.option_values import LABELS_MAX
from distq.core.ranges import count_of, shown, text
from distq.wire.errors import BadCall

PROTOCOL: Final = 1
"""Version of the protocol that the master speaks."""
PROTOCOLS: Final = (1, 1)
"""The oldest and the newest version of the protocol that clients, workers and the command line speak."""
CLIENT, WORKER, EXECUTOR, CLI = "client", "worker", "executor", "cli"
ROLES: Final = (WORKER, EXECUTOR, CLIENT, CLI)
SESSION_BYTES_MAX: Final = 200
"""Maximum bytes of a session's key; distq's own peers send at most 32."""
NAME_CHARS_MAX: Final = 100
"""Maximum characters of a text that a peer reports of itself; logs and pages show it."""


class Hello(NamedTuple):
    """What every peer says of itself."""

    role: str
    name: str
    session: str
    """Key of its session, by which the master knows it again on another connection; empty for the command line."""
    version: str = __version__
    python: str = ""
    reads_split: bool = False
    """Whether it reads split frames."""


class WorkerHello(NamedTuple):
    """What a worker adds."""

    pool: str
    host: str
    pid: int
    slots: int
    queues: Any
    """Names of the queues that it serves; None for all."""
    plain: bool
    """Whether it runs plain items."""
    tasks: bool
    """Whether it runs tasks that are functions."""
    labels: Iterable[str]
    holds: Sequence[tuple[int, int, int]] = ()
    """Index of an executor, key and delivery of each task that its executors hold."""
    accept: str = ""
    """Its DISTQ_ACCEPT: `pickle` or `json`; '' if it does not say."""
    unsigned: str = ""
    """Whether it runs unsigned payloads: `accept`, or `refuse` with a signing key; '' if it does not say."""


class ExecutorHello(NamedTuple):
    """What an executor adds."""

    number: int
    """Number among the executors of its worker, from 1 on."""
    slots: int
    holds: Sequence[tuple[int, int]]
    """Key and delivery of each task that it holds."""
    reads_states: bool = True
    """Whether it can read in which state each dependency of a task has ended."""


class Greeting(NamedTuple):
    """What the master answers; the defaults stand for keys that a master of another version leaves out."""

    version: str = ""
    epoch: int = 0
    instance: str = ""
    lease_s: float = 30.0
    heartbeat_s: float = 10.0
    max_deliveries: int = 0
    durable: bool = False
    notes: bool = False
    """Whether it takes progress, checkpoints and parts while a task runs."""
    declares: bool = False
    """Whether workers declare their schedules to it."""
    frame_bytes_max: int | None = None
    """Maximum bytes of a frame that it reads; None if it does not say."""
    goodbye: bool = False
    """Whether it takes `goodbye`."""
    split: bool = False
    """Whether it reads split frames."""
    backlog: str = ""
    """Identifies the ends of tasks that it keeps for a client. Another text than before says that some may be gone: the
    session has ended meanwhile, or had too many. The client then asks about the tasks that it awaits."""
    leader: str = ""
    """Address at which peers reach this master directly, if others stand by and pass connections on to it."""


def write_hello(role: str, name: str, session: str) -> dict[str, object]:
    """The argument of `hello` of a client or of the command line."""
    return {
        "role": role,
        "protocol": PROTOCOLS,
        "version": __version__,
        "python": platform.python_version(),
        "name": name,
        "session": session,
        "split": True,
    }


def write_worker_hello(name: str, session: str, worker: WorkerHello) -> dict[str, object]:
    """The argument of `hello` of a worker."""
    return {
        **write_hello(WORKER, name, session),
        "pool": worker.pool,
        "host": worker.host,
        "pid": worker.pid,
        "slots": worker.slots,
        "queues": worker.queues,
        "plain": worker.plain,
        "tasks": worker.tasks,
        "labels": worker.labels,
        "accept": worker.accept,
        "unsigned": worker.unsigned,
    }


def with_holds(hello: Mapping[str, object], holds: Sequence[tuple[int, int, int]]) -> dict[str, object]:
    """A worker's argument of `hello` with what its executors hold now."""
    return {**hello, "holds": holds}


def write_executor_hello(name: str, session: str, executor: ExecutorHello) -> dict[str, object]:
    """The argument of `hello` of an executor."""
    return {
        **write_hello(EXECUTOR, name, session),
        "index": executor.number,
        "seats": executor.slots,
        "holds": executor.holds,
        "states": executor.reads_states,
    }


def read_hello(info: Mapping[str, Any]) -> Hello:
    """What a peer says of itself, each value checked; raises BadCall."""
    low, high = _range(info.get("protocol"))
    if not low <= PROTOCOL <= high:
        raise BadCall(
            f"This master ({__version__}) speaks protocol {PROTOCOL}, you ({shown(info.get('version'))}) speak "
            f"{shown(low)} to {shown(high)}. Upgrade the older of the two."
        )
    role, session = info.get("role"), info.get("session")
    if role not in ROLES:
        raise BadCall(f"hello() of an unknown role {shown(role)}; the roles are {', '.join(ROLES)}.")
    if role != CLI:
        try:
            session = text("session", session, SESSION_BYTES_MAX)
        except (TypeError, ValueError) as exc:
            raise BadCall(f"hello() of a {role} needs its session: {exc}.") from exc
    return Hello(
        role,
        short_text(info.get("name")),
        session if isinstance(session, str) else "",
        short_text(info.get("version")),
        short_text(info.get("python")),
        info.get("split") is True,
    )


def read_worker_hello(info: Mapping[str, Any]) -> WorkerHello:
    """What a worker adds; a value that cannot be used counts as left out. The queues are not checked here."""
    labels = info.get("labels")
    listed = labels if isinstance(labels, list | tuple) else ()
    return WorkerHello(
        short_text(info.get("pool")) or "default",
        short_text(info.get("host")),
        count_of(info.get("pid")),
        count_of(info.get("slots")),
        info.get("queues"),
        bool(info.get("plain")),
        bool(info.get("tasks")),
        frozenset(short_text(label) for label in listed[:LABELS_MAX]),
        _numbers(info.get("holds"), 3),
        short_text(info.get("accept")),
        short_text(info.get("unsigned")),
    )


def read_executor_hello(info: Mapping[str, Any]) -> ExecutorHello:
    """What an executor adds; a value that cannot be used counts as left out."""
    return ExecutorHello(
        count_of(info.get("index")),
        max(count_of(info.get("seats")), 1),
        _numbers(info.get("holds"), 2),
        info.get("states") is True,
    )


def write_greeting(greeting: Greeting, now: float) -> dict[str, object]:
    """The answer to a `hello`; `now` is the master's time, in seconds since 1970."""
    return {**greeting._replace(goodbye=True, split=True)._asdict(), "protocol": PROTOCOL, "now": now}


def read_greeting(reply: object) -> Greeting:
    """The answer to a `hello`; keys of a later version are left out."""
    fields = reply if isinstance(reply, Mapping) else {}
    greeting = Greeting(**{field: fields[field] for field in Greeting._fields if field in fields})
    if type(greeting.frame_bytes_max) is not int:
        greeting = greeting._replace(frame_bytes_max=None)
    return greeting if isinstance(greeting.leader, str) else greeting._replace(leader="")


def short_text(value: object) -> str:
    """A text that a peer reports, in a form that every log and page can show: short, without halves of surrogates."""
    return value[:NAME_CHARS_MAX].encode(errors="replace").decode() if isinstance(value, str) else ""


def _range(protocol: object) -> tuple[int, int]:
    if isinstance(protocol, list | tuple) and len(protocol) == 2 and all(isinstance(one, int) for one in protocol):
        return protocol[0], protocol[1]
    return 0, 0


def _numbers(rows: object, count: int) -> list[Any]:
    """The rows that consist of `count` numbers; other rows are left out."""
    listed = rows if isinstance(rows, list | tuple) else ()
    right = (row for row in listed if isinstance(row, list | tuple) and len(row) == count)
    return [tuple(row) for row in right if all(isinstance(one, int) for one in row)]
