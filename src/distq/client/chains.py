"""Chains and groups: several tasks in one submit, of which some come after others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from distq.client.outbox import SubmitOptions
from distq.core.constraints import FAIL, DependsOn
from distq.core.errors import DistqError, PayloadTooLarge
from distq.protocol.submit import NO_KEYS, SubmitConstraints, queue_of, write_constraints
from distq.tasks.call import Call, gathered, nothing
from distq.tasks.options import Options

CALLS_MAX: Final = 10_000
BYTES_MAX: Final = 32 << 20
"""So many calls, and so many bytes of their arguments, one submit carries."""

NOTHING: Final = (0, 0, False)
"""Stands for the tasks of a first stage without calls."""
Stage = Call | Iterable[Call]
Planned = tuple[SubmitOptions, bytes]


class Prepare(Protocol):
    """Makes of a call its options, how it is submitted, and its payload."""

    def __call__(self, call: Call, *, follows: bool) -> tuple[Options, SubmitOptions, bytes]:
        """`follows` says whether the results of others come before its arguments."""


class TooManyCalls(DistqError, ValueError):
    """A chain or a group has more calls than one submit carries."""

    code = "TOO_MANY_CALLS"
    hint = "Put several into one call, or make groups of groups: the callback of one submits the next."
    exit_code = 2


def planned(stages: Iterable[Stage], prepare: Prepare) -> list[Planned]:
    """What is submitted for a chain of stages; after a last one of several calls comes one that returns all results.

    Raises:
        TypeError: a stage is neither a call nor several, or has a unique key.
        TooManyCalls, PayloadTooLarge: it does not fit one submit.
    """
    tasks: list[Planned] = []
    before: tuple[int, int, bool] | None = None
    stage_before: Sequence[Call] = ()
    for stage in stages:
        calls = _calls_of(stage)
        _check_full(stage_before)
        stage_before = calls
        if not calls:
            before = _empty_stage(tasks, before, prepare)
            continue
        tasks_before = len(tasks)
        tasks += [_planned(call, before, prepare) for call in calls]
        before = tasks_before, len(calls), isinstance(stage, Call)
    if before is None:
        raise TypeError("there is nothing to run: a chain has at least one stage")
    if not before[-1]:
        _check_full(stage_before)
        queue = {"queue": queue_of(tasks[-1][0].envelope)} if tasks else {}
        tasks.append(_planned(Call(gathered, given=queue), before, prepare))
    if len(tasks) > CALLS_MAX:
        raise TooManyCalls(f"{len(tasks):,} calls, and one chain or group has at most {CALLS_MAX:,}.")
    size_bytes = sum(len(body) for _, body in tasks)
    if size_bytes > BYTES_MAX:
        raise PayloadTooLarge(f"the arguments of all calls have {size_bytes:,} bytes; {BYTES_MAX:,} fit one submit.")
    return tasks


def _check_full(calls: Iterable[Call]) -> None:
    if any(call.given.get("full") is not None for call in calls):
        raise TypeError(
            "full has no effect on one call of a chain, which is submitted as a whole. "
            "Give it to the last call, or to the client: client.options(full=...)."
        )


def _empty_stage(tasks: list[Planned], before: tuple[int, int, bool] | None, prepare: Prepare) -> tuple[int, int, bool]:
    """A stage of no calls, whose list of results is empty: what comes next waits for what came before all the same."""
    if before is None or before == NOTHING:
        return NOTHING
    tasks.append(_planned(Call(nothing, given={"queue": queue_of(tasks[-1][0].envelope)}), before, prepare))
    return len(tasks) - 1, 1, True


def _planned(call: Call, before: tuple[int, int, bool] | None, prepare: Prepare) -> Planned:
    if before == NOTHING:
        call, before = call._replace(args=([], *call.args)), None
    options, manner, body = prepare(call, follows=before is not None)
    if options.unique_key is not None:
        raise TypeError(f"{call.function!r} has a unique key, which no task in a chain or a group may have")
    if before is None:
        return manner, body
    known = SubmitConstraints(*manner.constraints or NO_KEYS)
    first, size, is_single = before
    constraints = write_constraints(
        known.concurrency_key,
        known.concurrency,
        depends_on=DependsOn(first, size, options.on_failure or FAIL, is_single),
        headers=options.headers or (),
    )
    return manner._replace(constraints=constraints), body


def _calls_of(stage: Stage) -> Sequence[Call]:
    if isinstance(stage, Call):
        return (stage,)
    calls = tuple(stage) if isinstance(stage, Iterable) else (stage,)
    if not all(isinstance(one, Call) for one in calls):
        raise TypeError(f"a stage is distq.call(function, ...), or a list of these, not {stage!r}")
    return calls
