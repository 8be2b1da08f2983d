"""Fetches the results that a leased task depends on, and puts them into its arguments before it runs."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from distq.core.errors import DistqError
from distq.protocol.methods import BEFORE, BROKER
from distq.tasks.payload import with_dependencies
from distq.tasks.sealed import SealRefused
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.net.dial import Connection
    from distq.protocol.exchange import LeasedTask
    from distq.worker.executor.seals import ExecutorSeals

ANSWER_S: Final = 20.0
"""Maximum seconds for the master to send one part of the results."""


class DependencyArgumentsFailed(DistqError):
    """The arguments of a task cannot be combined with the results that it depends on."""

    code = "ARGUMENTS_UNMADE"


class _UnreadablePayload:
    """A payload that raises where the task runs and reads it: the task fails, not its executor."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> tuple[object, ...]:
        return _raise, (self.why,)


def _raise(why: str) -> None:
    raise DependencyArgumentsFailed(f"The task's arguments cannot be put together with the results before it: {why}.")


def with_upstream_results(
    connection: Connection,
    rows: Sequence[LeasedTask],
    upstream_counts: Mapping[int, tuple[int, bool]],
    seals: ExecutorSeals | None = None,
) -> Sequence[LeasedTask]:
    """Leased tasks with the results that they depend on; without tasks whose leases have ended meanwhile.

    Raises ConnectionLost: then the master gives these tasks out again.
    """
    complete: list[LeasedTask] = []
    for row in rows:
        task_key, delivery, attempt, envelope, payload = row
        if task_key in upstream_counts and (seals is None or seals.refusal_of(task_key) is None):
            size, single = upstream_counts[task_key]
            try:
                ends = _ends(connection, task_key, delivery, size)
            except RemoteRefusal:
                if seals is not None:
                    seals.forget(task_key)
                continue  # the lease has ended: the task goes to another executor
            try:
                if seals is not None:
                    ends = seals.opened_ends(task_key, ends)
                payload = with_dependencies(payload, ends, single=single)
            except SealRefused as error:
                if seals is not None:
                    seals.refuse(task_key, str(error))
                else:
                    payload = pickle.dumps(_UnreadablePayload(str(error).rstrip(".")))
            except Exception as error:  # noqa: BLE001 - a payload that no client of distq has made: its task fails
                payload = pickle.dumps(_UnreadablePayload(f"{type(error).__name__}: {error}"))
            complete.append((task_key, delivery, attempt, envelope, payload))
        else:
            complete.append(row)
    return complete


def _ends(connection: Connection, task_key: int, delivery: int, size: int) -> list[Any]:
    """How the tasks have ended that this task depends on; the master sends them in parts."""
    ends: list[Any] = []
    while len(ends) < size:
        reply = connection.call(BROKER, BEFORE, (task_key, delivery, len(ends)), timeout_s=ANSWER_S)
        ends += cast("list[Any]", reply)
    return ends
