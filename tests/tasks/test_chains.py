"""Results on their way into the call that comes after them: in the safe form as long as all of it is."""

import json
import pickle

import pytest

from distq.core.states import CANCELLED, DEAD, EXPIRED, GONE
from distq.tasks.codec import is_json
from distq.tasks.failure import TaskFailed, pack_failure
from distq.tasks.payload import DependencyEnd, pack_json, run_payload, unpack_result, with_dependencies


def returned(value: object) -> DependencyEnd:
    """Return the row of a task with this result."""
    return True, pickle.dumps(value, 5), []


def spoken(*args: object, **kwargs: object) -> str:
    """Return the arguments of the call."""
    return repr((args, kwargs))


def unfinished(value: object, _pack: object) -> object:
    """Return the result of the task."""
    return value


def called(payload: bytes) -> object:
    """Return the arguments of the call."""
    return unpack_result(run_payload(spoken, payload, unfinished))


def call(*args: object, **kwargs: object) -> bytes:
    """Return a pickled call."""
    return pickle.dumps((args, kwargs), 5)


def test_results_are_the_first_argument_as_a_list_or_the_one_alone() -> None:
    """They precede the call's own arguments."""
    payload = with_dependencies(call("a", b=1), [returned(1), returned(2)], single=False)
    assert called(payload) == "(([1, 2], 'a'), {'b': 1})"
    assert called(with_dependencies(call(), [returned(1)], single=True)) == "((1,), {})"
    assert called(with_dependencies(call(), [], single=False)) == "(([],), {})"


def test_each_kind_of_end_is_the_exception_that_the_tasks_own_future_raises() -> None:
    """A master of an older version does not send the kind of the end."""

    def kinds(results: list[BaseException]) -> list[tuple[str, str]]:
        return [(type(one).__name__, str(one)) for one in results]

    ends: list[DependencyEnd] = [
        (False, None, [], EXPIRED),
        (False, None, ["by its client"], CANCELLED),
        (False, None, ["lost: killed by SIGKILL"], DEAD),
        (False, pack_failure(ValueError("no")), ["ValueError: no"], DEAD),
        (False, None, ["it is gone"], GONE),
        (False, None, ["it expired"]),
    ]
    assert unpack_result(run_payload(kinds, with_dependencies(call(), ends, single=False), unfinished)) == [
        ("TaskExpired", "the task expired before it could run."),
        ("TaskCancelled", "the task was cancelled: by its client."),
        ("TaskFailed", "lost: lost: killed by SIGKILL"),
        ("ValueError", "no"),
        ("TaskUnknown", "the master does not know the task any more."),
        ("TaskFailed", "lost: it expired"),
    ]


def test_an_exception_stands_in_the_place_of_a_result() -> None:
    """It is the task's own exception, if it can be rebuilt; otherwise the known facts replace it."""
    failure = pack_failure(ValueError("no"))
    ends: list[DependencyEnd] = [(False, failure, ["ValueError: no"]), (False, None, ["by its client"])]

    def kinds(results: list[BaseException]) -> list[tuple[str, str]]:
        return [(type(one).__name__, str(one)) for one in results]

    seen = unpack_result(run_payload(kinds, with_dependencies(call(), ends, single=False), unfinished))
    assert seen == [("ValueError", "no"), (TaskFailed.__name__, "lost: by its client")]


def test_a_call_that_is_json_throughout_stays_json() -> None:
    """A worker that takes only JSON can run it."""
    ends: list[DependencyEnd] = [(True, b"[1]", []), (True, b'"x"', [])]
    payload = with_dependencies(pack_json(["a"], {"b": 1}), ends, single=False)
    assert json.loads(payload) == {"args": [[[1], "x"], "a"], "kwargs": {"b": 1}}
    assert is_json(with_dependencies(pack_json([], {}), ends[:1], single=True))


@pytest.mark.parametrize("end", [returned(3), (False, pack_failure(KeyError("k")), [])])
def test_a_json_call_after_something_else_is_not_in_the_safe_form(end: DependencyEnd) -> None:
    """A worker that takes pickles runs it nevertheless."""
    payload = with_dependencies(pack_json(["a"], {}), [end], single=True)
    assert not is_json(payload)
    assert str(called(payload)).endswith(" 'a'), {})") or "KeyError" in str(called(payload))
