"""What a submit says: entries of tasks that are alike, their envelopes, when they run, and what constrains them.

The client writes plain tuples, because the master's unpickler makes no classes; the master reads and checks them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from distq.core.constraints import (
    DEPENDENCIES_MAX,
    FAILURE_POLICIES,
    KEY_BYTES_MAX,
    NO_CONSTRAINTS,
    DependsOn,
    Headers,
    TaskConstraints,
)
from distq.core.head import new_queue_name
from distq.core.option_values import PRIORITY_DEFAULT, TASK
from distq.core.queue import RESULT
from distq.core.ranges import DURATION_MAX_S, headers, instant, is_duration, labels, seconds, shown, text, whole
from distq.core.task import Envelope
from distq.wire.errors import BadCall
from distq.wire.messages import bodies_beside

if TYPE_CHECKING:
    from distq.core.registry import Registry

REJECT, RETURN, REPLACE = "reject", "return", "replace"
CONFLICTS: Final = (REJECT, RETURN, REPLACE)
"""What becomes of a submit whose unique key another task has: refused, answered with that task, or its replacement."""
NUMBER_MAX: Final = (1 << 62) - 1
"""Maximum number of a submit: the row of a session stores it in 62 bits."""

WireTuple = tuple[Any, ...]
"""One of the named tuples below as it travels: a plain tuple, which may end before fields that have their default."""


UniqueConflict = tuple[int, int, bool]
"""Index of a task that was not submitted, key of the task that has its unique key, whether that task stands for it."""


class SubmitAccepted(NamedTuple):
    """The answer to a submit whose tasks the master has taken."""

    first: int
    """Key of the first task; the keys of the others follow without gaps."""
    conflicts: Sequence[UniqueConflict] = ()
    """Tasks of the submit whose unique key another task has."""


class SubmitRefused(NamedTuple):
    """The answer to a submit of which the master has taken no task."""

    code: str
    sentence: str


class SubmitEnvelope(NamedTuple):
    """The queue, the name and the options of tasks that are alike; None where the master's default applies."""

    queue: str
    name: str
    priority: int | None = None
    retries: int | None = None
    time_limit_s: float | None = None
    result_ttl_s: float | None = None
    max_deliveries: int | None = None
    requires: tuple[str, ...] | None = None
    """Labels that a worker must have."""
    cost: int | None = None
    """Slots that a task takes."""


class When(NamedTuple):
    """When a task runs."""

    delay_s: float | None = None
    """Seconds after its submit before which it does not run."""
    eta_at: float | None = None
    """Instant, in seconds since 1970, before which it does not run."""
    expires_s: float | None = None
    """Seconds after its submit from which on it is not begun any more."""


class SubmitConstraints(NamedTuple):
    """The keys, the dependencies and the headers of a task."""

    concurrency_key: str | None
    concurrency: int | None
    unique_key: str | None
    unique_for_s: float | None
    on_conflict: str
    depends_on: WireTuple | None = None
    """Its dependencies, with the fields of `DependsOn`; they are counted from the first task of the same submit."""
    headers: Headers = ()


class SubmitEntry(NamedTuple):
    """Tasks that differ in their arguments alone, as the master has read them."""

    envelope: Envelope
    size: int
    """Number of its tasks."""
    when: When | None
    constraints: TaskConstraints
    conflict: str


# -- by the client -----------------------------------------------------------------------------


def read_answer(answer: object) -> SubmitAccepted | SubmitRefused:
    """The answer that the client has received."""
    is_accepted, *fields = cast("WireTuple", answer)
    return SubmitAccepted(*fields) if is_accepted else SubmitRefused(*fields)


def write_envelope(envelope: SubmitEnvelope) -> WireTuple:
    """An envelope as it travels."""
    if envelope.cost is not None:
        return (*envelope[:-2], envelope.requires or (), envelope.cost)
    return tuple(envelope[:-1] if envelope.requires else envelope[:-2])


def queue_of(envelope: WireTuple) -> str:
    """The queue of an envelope that is on its way."""
    return SubmitEnvelope(*envelope).queue


def write_when(when: When) -> WireTuple | None:
    """When a task runs, as it travels; None for immediately."""
    return None if when == (None, None, None) else tuple(when)


def write_constraints(
    concurrency_key: str | None = None,
    concurrency: int | None = None,
    unique_key: str | None = None,
    unique_for_s: float | None = None,
    on_conflict: str = REJECT,
    depends_on: DependsOn | None = None,
    headers: Headers = (),
) -> WireTuple:
    """The fields of `SubmitConstraints` as they travel; no named tuple is made, as this is called for each task."""
    known = concurrency_key, concurrency, unique_key, unique_for_s, on_conflict
    before = None if depends_on is None else tuple(depends_on)
    if headers:
        return (*known, before, headers)
    return known if before is None else (*known, before)


NO_KEYS: Final = write_constraints()
"""The constraints of a task without any, as they travel."""


def with_headers(constraints: WireTuple | None, headers: Headers) -> WireTuple | None:
    """Constraints as they travel, with further headers; these replace headers of the same name."""
    if not headers:
        return constraints
    known = SubmitConstraints(*constraints or NO_KEYS)
    return (*known[:-1], tuple({**dict(known.headers), **dict(headers)}.items()))


def write_entry(index: int, size: int, when: WireTuple | None, constraints: WireTuple | None) -> WireTuple:
    """An entry of `size` tasks as it travels; `index` is the place of its envelope in the submit's list."""
    if constraints is not None:
        return index, size, when, constraints
    return (index, size) if when is None else (index, size, when)


def split_submit(args: tuple[object, ...]) -> tuple[object, ...]:
    """The arguments of a submit for a master that reads split frames: large payloads travel beside the pickle."""
    number, envelopes, entries, bodies, wait_s = args
    return number, envelopes, entries, bodies_beside(cast("list[bytes]", bodies)), wait_s


# -- by the master -----------------------------------------------------------------------------


def write_answer(answer: SubmitAccepted | SubmitRefused) -> WireTuple:
    """The answer as it travels: `(True, first)`, `(True, first, conflicts)` or `(False, code, sentence)`."""
    if isinstance(answer, SubmitRefused):
        return (False, *answer)
    return (True, *answer) if answer.conflicts else (True, answer.first)


def instants(when: When, now: float) -> tuple[float, float | None]:
    """When tasks that are submitted at `now` become ready, 0 for immediately, and when they expire, None for never."""
    due_at = max(now + (when.delay_s or 0.0), when.eta_at or 0.0)
    return (due_at if due_at > now else 0.0), (None if when.expires_s is None else now + when.expires_s)


def read_submit(
    registry: Registry, args: tuple[Any, ...], now: float, key_name: str = ""
) -> tuple[int, list[SubmitEntry], list[bytes], float]:
    """The arguments of a submit with the key of that name, each checked; raises BadCall, or NameTooLong."""
    try:
        number, envelopes, entries, bodies, wait_s = args
        table = [_known(registry, envelope, key_name) for envelope in envelopes]
        rows = [_entry(registry, now, table[index], *rest) for index, *rest in entries]
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
            raise TypeError("a number, a size, a body or wait_s is out of its range")  # noqa: TRY301
    except (TypeError, ValueError, IndexError, OverflowError) as exc:
        raise BadCall(
            f"submit(number, envelopes, entries, bodies, wait_s) has an argument that is not valid: {exc}."
        ) from exc
    _check_dependencies(rows)
    unique = [(row.envelope.queue, row.constraints.unique_key) for row in rows if row.constraints.unique_key]
    if len(set(unique)) < len(unique):
        raise BadCall("One submit has the same unique key twice; submit the second task in a submit of its own.")
    return number, rows, list(bodies), min(wait_s, DURATION_MAX_S)


def _check_dependencies(entries: list[SubmitEntry]) -> None:
    """Check that each dependency stands before its task in the same submit; raises BadCall."""
    first = total = 0
    ordered = any(entry.constraints.depends_on is not None for entry in entries)
    for entry in entries:
        depends_on = entry.constraints.depends_on
        if depends_on is not None and not 0 <= depends_on.first <= depends_on.first + depends_on.size <= first:
            raise BadCall("The dependencies of a task come before it in the same submit.")
        if ordered and entry.constraints.unique_key:
            raise BadCall("A task of a submit with dependencies has no unique key: another task may have it.")
        first += entry.size
        total += entry.size * (0 if depends_on is None else depends_on.size)
    if total > DEPENDENCIES_MAX:
        raise BadCall(
            f"The tasks of one submit have at most {DEPENDENCIES_MAX:,} dependencies together; these have {total:,}. "
            "Submit them in several submits, or let one task collect the results of the others."
        )


def read_entry(
    registry: Registry,
    envelope: WireTuple,
    when: Any,
    constraints: Any,
    now: float,
    key_name: str = "",
    *,
    stored: bool = False,
) -> SubmitEntry:
    """One task that a schedule or an HTTP request submits, and the name of the key that allows it.

    Raises TypeError, ValueError, NameTooLong or TooManyNames.

    With `stored` the schedule comes from the store: its queue may have a name that new queues cannot have, and exceed
    the limit of queues, which may have been lowered.
    """
    entry = _entry(registry, now, _known(registry, envelope, key_name, stored=stored), 1, when, constraints)
    if entry.constraints.depends_on is not None:
        raise ValueError("a task that is submitted alone has no dependencies")
    return entry


def _entry(
    registry: Registry, now: float, envelope: Envelope, size: int, when: Any = None, constraints: Any = None
) -> SubmitEntry:
    if constraints is None:
        return SubmitEntry(envelope, size, _when(when, now), NO_CONSTRAINTS, REJECT)
    # The order of `SubmitConstraints`, of which no object is made: that would cost a fifth of reading a keyed task.
    # Fields that a later version adds are not read.
    key, concurrency, unique, unique_for_s, on_conflict, *rest = constraints
    key = None if key is None else text("concurrency_key", key, KEY_BYTES_MAX)
    unique = None if unique is None else text("unique_key", unique, KEY_BYTES_MAX)
    concurrency = None if concurrency is None else whole("concurrency", concurrency)
    unique_for_s = None if unique_for_s is None else seconds("unique_for", unique_for_s, converted=True)
    if on_conflict not in CONFLICTS:
        raise ValueError(f"on_conflict is {', '.join(CONFLICTS)}, not {shown(on_conflict)}")
    if unique and size != 1:
        raise ValueError("an entry with a unique key has one task")
    if unique_for_s is not None and unique_for_s > envelope.result_ttl_s:
        envelope = registry.with_result_ttl(envelope, unique_for_s)  # the result tells which task has the key
    depends_on = _depends_on(*rest[0]) if rest and rest[0] is not None else None
    checked = headers("headers", rest[1]) if len(rest) > 1 and rest[1] != () else ()
    read = TaskConstraints(key or "", concurrency or 1, unique or "", unique_for_s, depends_on, checked)
    read = NO_CONSTRAINTS if read == NO_CONSTRAINTS else read
    return SubmitEntry(envelope, size, _when(when, now), read, on_conflict)


def _depends_on(first: int, size: int, policy: str, is_single: bool) -> DependsOn:
    if type(first) is not int or type(size) is not int or size < 0 or type(is_single) is not bool:
        raise TypeError("dependencies are (index, number of tasks, on_failure, whether it is a single one)")
    if policy not in FAILURE_POLICIES:
        raise ValueError(f"on_failure is {', '.join(FAILURE_POLICIES)}, not {shown(policy)}")
    if is_single and size != 1:
        raise ValueError(f"a single dependency is 1 task, not {size:,}")
    return DependsOn(first, size, policy, is_single)


def _when(when: Any, now: float) -> When | None:
    if when is None:
        return None
    delay_s, eta_at, expires_s = when
    return When(
        None if delay_s is None else seconds("delay", delay_s, converted=True),
        None if eta_at is None else instant("eta", eta_at, now),
        None if expires_s is None else seconds("expires", expires_s, converted=True),
    )


def _known(registry: Registry, fields: Any, key_name: str, *, stored: bool = False) -> Envelope:
    """The envelope that a client means; its options are checked when it comes for the first time."""
    sent = tuple(fields)
    words = (key_name, sent) if registry.counts_by_key else sent
    envelope = registry.recent.get(words)
    if envelope is None:
        envelope = _envelope(registry, SubmitEnvelope(*sent), key_name, stored=stored)
        registry.recent.keep(words, envelope)
    return envelope


def _envelope(registry: Registry, sent: SubmitEnvelope, key_name: str, *, stored: bool) -> Envelope:
    if not (isinstance(sent.queue, str) and isinstance(sent.name, str) and sent.queue and sent.name):
        raise TypeError("the name of a queue and the name of a task are texts")
    known = registry.queues.get(sent.queue)
    if known is not None and known.role == RESULT:
        raise ValueError(f"{sent.queue!r} is a queue of results: no worker takes tasks from it")
    if known is None and not stored:
        new_queue_name(sent.queue)
    return registry.envelope(
        sent.queue,
        sent.name,
        TASK,
        priority=PRIORITY_DEFAULT if sent.priority is None else whole("priority", sent.priority),
        retries=None if sent.retries is None else whole("retries", sent.retries),
        time_limit_s=None if sent.time_limit_s is None else seconds("time_limit", sent.time_limit_s, converted=True),
        result_ttl_s=None if sent.result_ttl_s is None else seconds("result_ttl", sent.result_ttl_s, converted=True),
        max_deliveries=None if sent.max_deliveries is None else whole("max_deliveries", sent.max_deliveries),
        requires=frozenset(labels("requires", sent.requires) if sent.requires else ()),
        cost=1 if sent.cost is None else whole("cost", sent.cost),
        key_name=key_name,
        stored=stored,
    )
