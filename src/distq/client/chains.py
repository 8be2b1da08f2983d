"""Plans chains and groups: the tasks of one submit, of which some depend on others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from distq.client.outbox import SubmitOptions
from distq.core.constraints import FAIL, DependsOn
from distq.core.errors import DistqError, PayloadTooLarge
from distq.protocol.submit import NO_KEYS, SubmitConstraints, queue_of, write_constraints
from distq.tasks.call import Call, gathered, nothing
from distq.tasks.options import Options

R = TypeVar("R")

CALLS_MAX: Final = 10_000
"""Maximum calls of one chain or group; the master accepts them in one cycle, in which it answers no other request."""
BYTES_MAX: Final = 32 << 20
"""Maximum bytes of their arguments together; one frame carries them."""
Stage = Call[Any] | Iterable[Call[Any]]
Parallel = list[Call[R]] | tuple[Call[R], ...] | Iterator[Call[R]]
"""The last stage of a chain whose result is a list; type checkers must tell it from a call, which is iterable too."""
Planned = tuple[SubmitOptions, bytes]
"""One task of a submit: its options and its payload."""


class PreviousStage(NamedTuple):
    """The tasks of the previous stage, on which those of the next one depend."""

    first: int
    """Index in the submit of the first of them."""
    size: int
    single: bool
    """Whether the stage is one call, whose result is passed alone, not in a list."""


EMPTY: Final = PreviousStage(0, 0, single=False)
"""The first stage, if it has no calls: the next one gets an empty list and depends on no task."""


class Prepare(Protocol):
    """Turns a call into its options, its submit options and its payload."""

    def __call__(self, call: Call[Any], *, follows: bool) -> tuple[Options, SubmitOptions, bytes]:
        """`follows` says whether results of dependencies come before the arguments of the call."""


class TooManyCalls(DistqError, ValueError):
    """A chain or a group has more calls than one submit may have."""

    code = "TOO_MANY_CALLS"
    hint = "Process several items in one call, or let the last task of a group submit the next group."
    exit_code = 2


def planned(stages: Iterable[Stage], prepare: Prepare) -> list[Planned]:
    """The tasks of a chain of stages; one that returns all results follows a last stage of several calls.

    Raises:
        TypeError: a stage is neither a call nor a list of calls, or a call has a unique key.
        ValueError: there is no stage.
        TooManyCalls, PayloadTooLarge: the chain does not fit into one submit.
    """
    tasks: list[Planned] = []
    previous: PreviousStage | None = None
    previous_calls: Sequence[Call[Any]] = ()
    for stage in stages:
        calls = _calls_of(stage)
        _check_full(previous_calls)
        previous_calls = calls
        if not calls:
            previous = _empty_stage(tasks, previous, prepare)
            continue
        first = len(tasks)
        tasks += [_planned(call, previous, prepare) for call in calls]
        previous = PreviousStage(first, len(calls), isinstance(stage, Call))
    if previous is None:
        raise ValueError("a chain has at least one stage, not 0")
    if not previous.single:
        _check_full(previous_calls)
        queue = {"queue": queue_of(tasks[-1][0].envelope)} if tasks else {}
        tasks.append(_planned(Call(gathered, given=queue), previous, prepare))
    if len(tasks) > CALLS_MAX:
        raise TooManyCalls(f"A chain or group has at most {CALLS_MAX:,} calls, not {len(tasks):,}.")
    size_bytes = sum(len(body) for _, body in tasks)
    if size_bytes > BYTES_MAX:
        raise PayloadTooLarge(
            f"the arguments of all calls have at most {BYTES_MAX:,} bytes together, not {size_bytes:,}."
        )
    return tasks


def _check_full(calls: Iterable[Call[Any]]) -> None:
    if any(call.given.get("full") is not None for call in calls):
        raise TypeError(
            "full has no effect on one call of a chain, which is one submit. "
            "Give it to the last call, or to the client: client.options(full=...)."
        )


def _empty_stage(tasks: list[Planned], previous: PreviousStage | None, prepare: Prepare) -> PreviousStage:
    """A stage without calls, whose list of results is empty; the next stage still waits for the previous one."""
    if previous is None or previous == EMPTY:
        return EMPTY
    tasks.append(_planned(Call(nothing, given={"queue": queue_of(tasks[-1][0].envelope)}), previous, prepare))
    return PreviousStage(len(tasks) - 1, 1, single=True)


def _planned(call: Call[Any], previous: PreviousStage | None, prepare: Prepare) -> Planned:
    if previous == EMPTY:
        call, previous = call._replace(args=([], *call.args)), None
    options, submit_options, body = prepare(call, follows=previous is not None)
    if options.unique_key is not None:
        raise TypeError(f"{call.function!r} has a unique key, which no task in a chain or a group may have")
    if previous is None:
        return submit_options, body
    known = SubmitConstraints(*submit_options.constraints or NO_KEYS)
    constraints = write_constraints(
        known.concurrency_key,
        known.concurrency,
        depends_on=DependsOn(previous.first, previous.size, options.on_failure or FAIL, previous.single),
        headers=options.headers or (),
    )
    return submit_options._replace(constraints=constraints), body


def _calls_of(stage: Stage) -> Sequence[Call[Any]]:
    if isinstance(stage, Call):
        return (stage,)
    calls = tuple(stage) if isinstance(stage, Iterable) else (stage,)
    if not all(isinstance(one, Call) for one in calls):
        raise TypeError(f"a stage is distq.call(function, ...) or a list of such calls, not {stage!r}")
    return calls
