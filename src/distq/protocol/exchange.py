"""`exchange`: the settlements that an executor sends, and the leased tasks that the master replies.

Both travel as plain tuples, and are read by
position: a named tuple for each task would cost more than all other work on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.constraints import Headers
from distq.core.outcome import Outcome
from distq.core.ranges import DURATION_MAX_S, is_duration
from distq.wire.errors import BadCall
from distq.wire.framing import PART_BYTES_MIN
from distq.wire.messages import beside

if TYPE_CHECKING:
    from distq.core.task import Envelope, Task

WANT_MAX: Final = 10_000
"""Maximum tasks that one exchange leases; the executor asks again for more."""
SETTLEMENT_BODY: Final = 3
LEASED_BODY: Final = 4
"""Index of the body in a settlement, and in a leased task."""
_leased_body = itemgetter(LEASED_BODY)
ABSENT: Final[tuple[Any, ...]] = (None, None, None, None, None, "", None)
"""The fields that stand for those that a settlement leaves out: its text and its delay."""

Settlement = tuple[int, int, int, bytes | None, float, str] | tuple[int, int, int, bytes | None, float, str, float]
"""Task, delivery, outcome, body, seconds of the run, a failure's short text, and the delay before its next run."""
CheckedSettlement = tuple[int, int, int, bytes | None, float, str, "float | None"]
"""A settlement as the master has read it, with all its fields."""
LeasedEnvelope = tuple[str, str, str, float | None]
"""Queue, name and kind of tasks, and their time limit in seconds."""
LeasedTask = tuple[int, int, int, int, bytes]
"""Task, delivery, attempt, index of its envelope, payload."""
EMPTY: Final[Mapping[int, Any]] = MappingProxyType({})


class LeaseReply(NamedTuple):
    """The master's answer to an exchange: the leased tasks, and what they have in common."""

    envelopes: Sequence[LeasedEnvelope] = ()
    rows: Sequence[LeasedTask] = ()
    cursors: Mapping[int, bytes] = EMPTY
    """The checkpoints of earlier attempts, by task."""
    upstream_counts: Mapping[int, tuple[int, bool]] = EMPTY
    """By task that depends on others: how many results it needs, and whether it takes them as one argument."""
    headers: Mapping[int, Headers] = EMPTY
    """Headers by task."""
    lease_bound: Sequence[int] = ()
    """Lease-bound tasks: each must end with its lease."""


_FIELD_COUNT: Final = len(LeaseReply._fields)


def read_lease_reply(reply: object) -> LeaseReply:
    """Read the answer to an exchange; fields that only a later version knows are ignored."""
    fields: Any = reply
    return LeaseReply(*fields[:_FIELD_COUNT])


def write_lease_reply(
    tasks: list[Task],
    cursors: Mapping[int, bytes],
    upstream_counts: Mapping[int, tuple[int, bool]],
    headers: Mapping[int, Headers],
    lease_bound: Sequence[int] = (),
    *,
    split: bool = False,
) -> tuple[Any, ...]:
    """The answer to an exchange, with the fields of `LeaseReply`; it ends with the last field that is not empty.

    With `split`, large payloads travel beside the pickle.
    """
    envelopes: dict[Envelope, int] = {}
    rows: Sequence[tuple[Any, ...]] = [
        (task.task_key, task.delivery, task.attempt, envelopes.setdefault(task.envelope, len(envelopes)), task.body)
        for task in tasks
    ]
    if split and max(map(len, map(_leased_body, rows))) >= PART_BYTES_MIN:
        rows = beside(rows, LEASED_BODY)
    table = [(one.queue.name, one.name, one.kind, one.time_limit_s) for one in envelopes]
    left = {task.task_key: cursors[task.task_key] for task in tasks if task.task_key in cursors} if cursors else {}
    parts = (table, rows, left, upstream_counts, headers, lease_bound)
    count = len(parts)
    while count > 2 and not parts[count - 1]:
        count -= 1
    return parts[:count]


def read_exchange(args: tuple[Any, ...]) -> tuple[list[CheckedSettlement], int, float]:
    """The arguments of an exchange, each checked; raises BadCall."""
    try:
        settled, want, wait_s = args
        rows = [_settled(row) for row in settled]
        if type(want) is not int or not is_duration(wait_s):
            raise TypeError("want is a number of tasks, wait_s one of seconds")  # noqa: TRY301 - one sentence for all
    except (TypeError, ValueError) as exc:
        raise BadCall(f"exchange(settled, want, wait_s) has an argument that is not valid: {exc}.") from exc
    return rows, min(max(want, 0), WANT_MAX), min(wait_s, DURATION_MAX_S)


def _settled(row: tuple[Any, ...]) -> CheckedSettlement:
    """One settlement, checked; this is called for each task."""
    if len(row) == 6:
        (task_key, delivery, outcome, body, run_s, cause), after_s = row, None
    else:
        task_key, delivery, outcome, body, run_s, cause, after_s = (*row, *ABSENT[len(row) :])
    good = (
        type(task_key) is int
        and type(delivery) is int
        and type(outcome) is int
        and 0 <= outcome <= Outcome.PART
        and isinstance(cause, str)
        and (body is None or type(body) is bytes)
        and is_duration(run_s)
    )
    if not good or not (after_s is None or is_duration(after_s)):
        raise TypeError("a settled entry is (key, delivery, outcome, body, run_s[, cause[, after_s]])")
    after_s = None if after_s is None else min(after_s, DURATION_MAX_S)
    if run_s > DURATION_MAX_S:  # noqa: PLR1730 - min() would cost each task more than the comparison
        run_s = DURATION_MAX_S
    return task_key, delivery, outcome, body, float(run_s), cause[:200], after_s
