"""What a submit says: runs of tasks that are alike, their envelopes, when they run, and what constrains them.

The client writes plain tuples, since the master's unpickler builds no classes; the master reads them here, each value
checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.constraints import FAILURE_POLICIES, KEY_BYTES_MAX, NO_CONSTRAINTS, DependsOn, TaskConstraints
from distq.core.envelope import PRIORITY_DEFAULT, TASK, Envelope
from distq.core.queue import RESULT
from distq.core.ranges import DURATION_MAX_S, headers, instant, is_duration, labels, seconds, shown, text, whole
from distq.wire.errors import BadCall

if TYPE_CHECKING:
    from distq.core.registry import Registry

REJECT, RETURN, REPLACE = "reject", "return", "replace"
CONFLICTS: Final = (REJECT, RETURN, REPLACE)
"""What becomes of a submit whose unique key another task has: refused, answered with that task, or its replacement."""
NUMBER_MAX: Final = (1 << 62) - 1
"""The largest number of a submit: a session's row has 62 bits for it."""

When = tuple["float | None", "float | None", "float | None"]
"""Delay, the moment (seconds since 1970) before which a task is not begun, and after how long it expires; seconds."""


class SubmitRun(NamedTuple):
    """So many tasks that are alike but for their arguments."""

    envelope: Envelope
    size: int
    when: When | None
    constraints: TaskConstraints
    conflict: str


def moments(when: When, now: float) -> tuple[float, float | None]:
    """From when on tasks submitted at `now` are ready, 0 for at once, and from when on they are not begun any more."""
    delay_s, eta, expires_s = when
    due_at = max(now + (delay_s or 0.0), eta or 0.0)
    return (due_at if due_at > now else 0.0), (None if expires_s is None else now + expires_s)


def read_submit(names: Registry, args: tuple[Any, ...], now: float) -> tuple[int, list[SubmitRun], list[bytes], float]:
    """The arguments of a submit, each checked; raises BadCall, or NameTooLong."""
    try:
        number, envelopes, runs, bodies, wait_s = args
        table = [_known(names, envelope) for envelope in envelopes]
        rows = [_run(names, now, table[index], *rest) for index, *rest in runs]
        good = (
            type(number) is int
            and 0 < number <= NUMBER_MAX
            and rows
            and all(type(row.size) is int and row.size > 0 for row in rows)
            and sum(row.size for row in rows) == len(bodies)
            and all(type(body) is bytes for body in bodies)
            and is_duration(wait_s)
        )
        if not good:
            raise TypeError("the numbers do not fit")  # noqa: TRY301
    except (TypeError, ValueError, IndexError, OverflowError) as exc:
        raise BadCall(
            f"submit(number, envelopes, runs, bodies, wait_s) was called with something else: {exc}."
        ) from exc
    _check_order(rows)
    unique = [(row.envelope.queue, row.constraints.unique_key) for row in rows if row.constraints.unique_key]
    if len(set(unique)) < len(unique):
        raise BadCall("one submit has a unique key twice: who is the first?")
    return number, rows, list(bodies), min(wait_s, DURATION_MAX_S)


def _check_order(runs: list[SubmitRun]) -> None:
    """Whether what comes before a task is there; raises BadCall."""
    begins = 0
    ordered = any(run.constraints.depends_on is not None for run in runs)
    for run in runs:
        after = run.constraints.depends_on
        if after is not None and not 0 <= after.first <= after.first + after.size <= begins:
            raise BadCall("what comes before a task is submitted before it, in the same call.")
        if ordered and run.constraints.unique_key:
            raise BadCall("a task that comes before or after others has no unique key: it must be there.")
        begins += run.size


def read_run(names: Registry, envelope: tuple[Any, ...], when: Any, constraints: Any, now: float) -> SubmitRun:
    """One task by itself, as a client says it; raises TypeError, ValueError, NameTooLong or TooManyNames."""
    run = _run(names, now, _known(names, envelope), 1, when, constraints)
    if run.constraints.depends_on is not None:
        raise ValueError("a task that is submitted by itself comes after no others")
    return run


def _run(
    names: Registry, now: float, envelope: Envelope, count: int, when: Any = None, constraints: Any = None
) -> SubmitRun:
    if constraints is None:
        return SubmitRun(envelope, count, _when(when, now), NO_CONSTRAINTS, REJECT)
    key, at_once, unique, unique_for_s, conflict, *rest = constraints
    key = None if key is None else text("concurrency_key", key, KEY_BYTES_MAX)
    unique = None if unique is None else text("unique_key", unique, KEY_BYTES_MAX)
    at_once = None if at_once is None else whole("concurrency", at_once)
    unique_for_s = None if unique_for_s is None else seconds("unique_for", unique_for_s, said=True)
    if conflict not in CONFLICTS:
        raise ValueError(f"on_conflict is {', '.join(CONFLICTS)}, not {shown(conflict)}")
    if unique and count != 1:
        raise ValueError("a unique key is of one task")
    if unique_for_s is not None and unique_for_s > envelope.result_ttl_s:
        envelope = names.with_result_ttl(envelope, unique_for_s)  # who has the key is known by its result
    after = _after(*rest[0]) if rest and rest[0] is not None else None
    travels = headers("headers", rest[1]) if len(rest) > 1 else ()
    known = TaskConstraints(key or "", at_once or 1, unique or "", unique_for_s, after, travels)
    return SubmitRun(envelope, count, _when(when, now), NO_CONSTRAINTS if known == NO_CONSTRAINTS else known, conflict)


def _after(first: int, size: int, policy: str, single: bool) -> DependsOn:
    if type(first) is not int or type(size) is not int or size < 0 or type(single) is not bool:
        raise TypeError("what comes before a task is an index and a number of tasks")
    if policy not in FAILURE_POLICIES or (single and size != 1):
        raise ValueError(f"a failure before a task has it {', '.join(FAILURE_POLICIES)}; one alone is no list")
    return DependsOn(first, size, policy, single)


def _when(when: Any, now: float) -> When | None:
    if when is None:
        return None
    delay, eta, expires = when
    return (
        None if delay is None else seconds("delay", delay, said=True),
        None if eta is None else instant("eta", eta, now),
        None if expires is None else seconds("expires", expires, said=True),
    )


def _known(names: Registry, spoken: Any) -> Envelope:
    """The envelope that a client means; its options are checked when it comes for the first time."""
    said = tuple(spoken)
    envelope = names.recent.get(said)
    if envelope is None:
        envelope = _envelope(names, *said)
        names.recent.keep(said, envelope)
    return envelope


def _envelope(
    names: Registry,
    queue: str,
    name: str,
    priority: int | None = None,
    retries: int | None = None,
    time_limit_s: float | None = None,
    result_ttl_s: float | None = None,
    max_deliveries: int | None = None,
    requires: tuple[str, ...] | None = None,
    cost: int | None = None,
) -> Envelope:
    if not (isinstance(queue, str) and isinstance(name, str) and queue and name):
        raise TypeError("a queue's and a task's name are texts")
    priority = PRIORITY_DEFAULT if priority is None else whole("priority", priority)
    retries = None if retries is None else whole("retries", retries)
    max_deliveries = None if max_deliveries is None else whole("max_deliveries", max_deliveries)
    time_limit_s = None if time_limit_s is None else seconds("time_limit", time_limit_s, said=True)
    result_ttl_s = None if result_ttl_s is None else seconds("result_ttl", result_ttl_s, said=True)
    required = labels("requires", requires) if requires else ()
    cost = 1 if cost is None else whole("cost", cost)
    known = names.queues.get(queue)
    if known is not None and known.role == RESULT:
        raise ValueError(f"{queue!r} is a queue of results: no worker takes tasks from it")
    return names.envelope(
        queue,
        name,
        TASK,
        priority=priority,
        retries=retries,
        time_limit_s=time_limit_s,
        result_ttl_s=result_ttl_s,
        max_deliveries=max_deliveries,
        requires=frozenset(required),
        cost=cost,
    )
