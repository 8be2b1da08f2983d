"""Tests of the client's plans of chains and groups: dependencies, and errors before the submit."""

import math
import operator
import pickle
from typing import Any

import pytest

import distq
from distq.client.chains import CALLS_MAX, Planned, TooManyCalls
from distq.client.outbox import SubmitOptions
from distq.client.submitter import Submitter
from distq.client.unsendable import NotPicklable
from distq.core.errors import PayloadTooLarge
from distq.tasks.call import GATHERED, NOTHING, nothing


class Planner(Submitter):
    """A client that sends nothing."""

    def _send_together(self, tasks: Any) -> Any:
        return tasks


def call(*args: object, **options: Any) -> distq.Call[Any]:
    """Return a call of a function that every process can import."""
    return distq.call(math.hypot, *args).options(**options)


def dependencies(tasks: list[Planned]) -> list[Any]:
    """Return the dependencies of each call."""
    return [
        None if options.constraints is None or len(options.constraints) < 6 else options.constraints[5]
        for options, _ in tasks
    ]


def planned(*stages: Any, **options: Any) -> list[Planned]:
    """Return the plan of a client with these options."""
    tasks: Any = Planner(options).chain(*stages)
    return list(tasks)


def names(tasks: list[Planned]) -> list[str]:
    """Return the names of the functions."""
    return [options.envelope[1] for options, _ in tasks]


def test_each_stage_depends_on_the_one_before_it() -> None:
    """A single call gets a result; a call after several calls gets a list."""
    tasks = planned(call(1), [call(2), call(3)], call(4))
    assert dependencies(tasks) == [None, (0, 1, "fail", True), (0, 1, "fail", True), (1, 2, "fail", False)]


def test_a_last_stage_of_several_is_gathered_on_the_queue_of_its_last_call() -> None:
    """This holds without such a call too; then the client's queue is used."""
    tasks = planned([call(1), call(2, queue="far")])
    assert (names(tasks)[-1], tasks[-1][0].envelope[0], dependencies(tasks)[-1]) == (
        GATHERED,
        "far",
        (0, 2, "fail", False),
    )
    none: Any = Planner({"queue": "mail"}).gather()
    assert [(options.envelope[:2], pickle.loads(body)) for options, body in none] == [(("mail", GATHERED), (([],), {}))]


def test_a_stage_without_calls_gives_an_empty_list() -> None:
    """The next stage gets the list; after another stage the empty stage waits for that one."""
    (alone,) = planned([], call(1))
    assert (pickle.loads(alone[1])[0], dependencies([alone])) == (([], 1), [None])
    assert [pickle.loads(body)[0] for _, body in planned([], [], [call(1), call(2)])][:2] == [([], 1), ([], 2)]
    tasks = planned(call(1, queue="far"), [], call(2))
    assert names(tasks) == ["math:hypot", NOTHING, "math:hypot"]
    assert (tasks[1][0].envelope[0], dependencies(tasks)) == ("far", [None, (0, 1, "fail", True), (1, 1, "fail", True)])
    assert names(planned(call(1), [])) == ["math:hypot", NOTHING]
    assert nothing(5) == []


def test_a_calls_options_precede_the_clients() -> None:
    """Both have precedence over the decorator's options."""
    tasks = planned(call(1, priority=9), call(2, on_failure="run"), queue="mail", priority=1)
    assert [options.envelope[:3] for options, _ in tasks] == [("mail", "math:hypot", 9), ("mail", "math:hypot", 1)]
    assert dependencies(tasks)[1][2] == "run"


def test_concurrency_keys_and_delays_apply_to_dependent_tasks() -> None:
    """Dependencies do not replace the other constraints of a task."""
    tasks = planned(call(1), call(2, concurrency_key="k", concurrency=3, delay=5))
    assert tasks[1][0] == SubmitOptions(
        ("default", "math:hypot", None, 0, None, None, None),
        (5, None, None),
        ("k", 3, None, None, "reject", (0, 1, "fail", True)),
    )


@pytest.mark.parametrize(
    ("stages", "error", "why"),
    [
        ((), ValueError, "at least one stage, not 0"),
        ((operator.add,), TypeError, "a stage is distq.call"),
        (([operator.add],), TypeError, "a stage is distq.call"),
        (("abc",), TypeError, "a stage is distq.call"),
        ((call(unique_key="x"),), TypeError, "has a unique key"),
        (([call(1)] * CALLS_MAX,), TooManyCalls, "at most 10,000 calls, not 10,001"),
        (([call("x" * (1 << 20))] * 33,), PayloadTooLarge, "at most 33,554,432 bytes together"),
        ((call(lambda: 1),), NotPicklable, "cannot be pickled"),
    ],
)
def test_an_impossible_chain_is_refused_by_its_call(stages: Any, error: type[Exception], why: str) -> None:
    """The client raises before it sends anything."""
    with pytest.raises(error, match=why):
        planned(*stages)


def test_a_wrong_option_is_refused_at_the_call() -> None:
    """The error does not wait for the submit of the chain."""
    with pytest.raises(ValueError, match="on_failure is fail, cancel or run"):
        call(on_failure="perhaps")
