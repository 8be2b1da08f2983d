"""Tasks that come after others: their results are fetched before they run, as a part of their arguments."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from distq.core.errors import DistqError
from distq.tasks.payload import after_others
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.net.dial import Connection
    from distq.worker.executor.rows import Leased

ANSWER_S: Final = 20.0
"""How long the master may take to tell a part of the results."""


class DependencyArgumentsFailed(DistqError):
    """The arguments of a task cannot be put together with the results of those before it."""

    code = "ARGUMENTS_UNMADE"


class _Unmade:
    """A payload that raises when it is read, where the task runs: the task fails, not its executor."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> tuple[object, ...]:
        return _raise, (self.why,)


def _raise(why: str) -> None:
    raise DependencyArgumentsFailed(f"The task's arguments cannot be put together with the results before it: {why}.")


def completed(
    connection: Connection, rows: Sequence[Leased], befores: Mapping[int, tuple[int, bool]]
) -> Sequence[Leased]:
    """Leased tasks with the results of those before them; without those whose leases have ended meanwhile.

    Raises ConnectionLost: then the master has them back.
    """
    complete: list[Leased] = []
    for row in rows:
        task, delivery, attempt, envelope, payload = row
        if task in befores:
            size, single = befores[task]
            try:
                ends = _ends(connection, task, delivery, size)
            except RemoteRefusal:
                continue  # it was taken from us, and goes to another
            try:
                payload = after_others(payload, ends, single=single)
            except Exception as error:  # noqa: BLE001 - no arguments that a client has made: the task fails by that
                payload = pickle.dumps(_Unmade(f"{type(error).__name__}: {error}"))
            complete.append((task, delivery, attempt, envelope, payload))
        else:
            complete.append(row)
    return complete


def _ends(connection: Connection, task: int, delivery: int, size: int) -> list[Any]:
    ends: list[Any] = []
    while len(ends) < size:
        reply = connection.call("broker", "before", (task, delivery, len(ends)), timeout_s=ANSWER_S)
        ends += cast("list[Any]", reply)
    return ends
