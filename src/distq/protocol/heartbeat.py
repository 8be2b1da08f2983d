"""`heartbeat`: the report of a worker, and the master's answer with the tasks that the worker must act on.

Both travel as dicts, so that a peer of another version can omit a key, or add one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from distq.core.ranges import KEY_MAX, count_of
from distq.protocol.hello import short_text

Lease = tuple[int, int]
"""Key of a task, and its delivery."""
Stack = tuple[int, int, str]
"""Key of a task, its delivery, and the stack of its run."""


class ExecutorEnd(NamedTuple):
    """How an executor has ended, and which of its tasks may be to blame."""

    number: int
    """Number of the executor among those of its worker."""
    cause: str
    kind: str
    """Label of the cause in the metrics."""
    running: Lease | None
    """The task that alone ran; None if none or several did."""
    stack: str = ""
    suspects: int = 0
    """Number of the tasks that ran, if several did."""
    begun: Sequence[Lease] = ()
    """Tasks that had ended in the executor and were not settled."""
    unexplained: bool = False
    """Whether the executor died by itself while it ran nothing."""


class WorkerReport(NamedTuple):
    """The report of a worker."""

    busy: int
    slots: int
    memory_bytes: int | None
    memory_limit_bytes: int | None
    draining: bool
    exited: Sequence[ExecutorEnd] = ()
    """The executors that have ended since the last report that the master answered."""
    released: Sequence[Lease] = ()
    """Tasks that no executor has begun and that the worker hands back."""
    stacks: Sequence[Stack] = ()
    """The stacks that the master has requested."""


class HeartbeatAnswer(NamedTuple):
    """The answer of the master."""

    stops: Sequence[Lease] = ()
    """Tasks that the worker must stop."""
    stacks: Sequence[Lease] = ()
    """Tasks whose stacks the worker must report."""


def write_report(report: WorkerReport) -> dict[str, object]:
    """The first argument of `heartbeat`."""
    written: dict[str, object] = {
        "busy": report.busy,
        "slots": report.slots,
        "memory_bytes": report.memory_bytes,
        "memory_limit_bytes": report.memory_limit_bytes,
        "draining": report.draining,
        "exited": [_write_end(end) for end in report.exited],
    }
    if report.released:
        written["returned"] = list(map(tuple, report.released))
    if report.stacks:
        written["stacks"] = list(report.stacks)
    return written


def _write_end(end: ExecutorEnd) -> dict[str, object]:
    running = None if end.running is None else tuple(end.running)
    if_any = {
        "stack": end.stack,
        "suspects": end.suspects,
        "begun": list(map(tuple, end.begun)),
        "unexplained": end.unexplained,
    }
    always = {"index": end.number, "cause": end.cause, "kind": end.kind, "running": running}
    return {**always, **{name: value for name, value in if_any.items() if value}}


def read_report(report: object) -> WorkerReport:
    """The report of a worker; a value that cannot be used counts as omitted."""
    fields = report if isinstance(report, dict) else {}
    return WorkerReport(
        count_of(fields.get("busy")),
        count_of(fields.get("slots")),
        count_of(fields.get("memory_bytes")) or None,
        count_of(fields.get("memory_limit_bytes")) or None,
        bool(fields.get("draining")),
        [_read_end(end) for end in _rows(fields.get("exited")) if isinstance(end, Mapping)],
        [
            (key, delivery)
            for key, delivery in _rows_of(fields.get("returned"), 2)
            if type(key) is type(delivery) is int
        ],
        [
            (count_of(key, KEY_MAX), count_of(delivery), stack)
            for key, delivery, stack in _rows_of(fields.get("stacks"), 3)
            if isinstance(stack, str)
        ],
    )


def _read_end(end: Mapping[Any, Any]) -> ExecutorEnd:
    stack, kind = end.get("stack"), end.get("kind")
    return ExecutorEnd(
        count_of(end.get("index")),
        short_text(end.get("cause")),
        kind if isinstance(kind, str) else "",
        next(_leases([end.get("running")]), None),
        stack if isinstance(stack, str) else "",
        count_of(end.get("suspects")),
        [*_leases(end.get("begun"))],
        bool(end.get("unexplained")),
    )


def write_answer(stops: Sequence[Lease], stacks: Sequence[Lease]) -> dict[str, object]:
    """The answer to a heartbeat, with the fields of `HeartbeatAnswer`."""
    return {"abort": stops, "stacks": stacks} if stacks else {"abort": stops}


def read_answer(answer: object) -> HeartbeatAnswer:
    """Read the answer to a heartbeat; an earlier version sends no `stacks`."""
    fields = cast("Mapping[str, Any]", answer)
    return HeartbeatAnswer(fields["abort"], fields.get("stacks", ()))


def _rows(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _rows_of(value: object, count: int) -> Iterator[Sequence[Any]]:
    """The rows with `count` values; other rows are left out."""
    return (row for row in _rows(value) if isinstance(row, list | tuple) and len(row) == count)


def _leases(value: object) -> Iterator[Lease]:
    return ((count_of(key, KEY_MAX), count_of(delivery)) for key, delivery in _rows_of(value, 2))
