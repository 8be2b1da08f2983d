"""Tests of functions: the executor finds one by the name in an envelope, and converts its runs to outcomes."""

import asyncio
import pickle
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.worker.at_work import wrapped

import distq
from distq.core.option_values import PLAIN, TASK
from distq.core.outcome import Outcome
from distq.core.stream_parts import PART_NUMBER
from distq.tasks.call import GATHERED
from distq.tasks.failure import ResultNotSent, TimeLimitExceeded, exception_of, unpack_failure
from distq.tasks.function import task
from distq.tasks.payload import DependencyEnd, pack_json, with_dependencies
from distq.worker.executor import functions as worker_functions
from distq.worker.executor.functions import RETRY_NAME_S, Functions
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.modules import ModuleUnusable, import_modules


def payload(*args: Any, **kwargs: Any) -> bytes:
    """Return the payload of a call."""
    return pickle.dumps((args, kwargs), 5)


def functions(accept: str = "pickle", *, bytes_max: int = 1 << 20, warnings: list[str] | None = None) -> Functions:
    """Return the functions of an executor without a plain handler."""
    return Functions(None, accept, bytes_max, (warnings if warnings is not None else []).append)


def ran(found: Functions, name: str, body: bytes, kind: str = TASK) -> RunOutcome:
    """Return the settlement of a run that was no plain success."""
    end = found.runner_of(kind, name)(body)
    assert isinstance(end, RunOutcome)
    return end


def result(found: Functions, name: str, body: bytes) -> object:
    """Return the result of a run."""
    end = found.runner_of(TASK, name)(body)
    assert isinstance(end, bytes)
    return pickle.loads(end)


async def doubled(n: int) -> int:
    """Return twice the number, as a coroutine function."""
    await asyncio.sleep(0)
    return 2 * n


def raises(error: BaseException) -> None:
    """Raise the error."""
    raise error


def test_a_function_is_found_by_its_import_path() -> None:
    """The test covers a function in a class, and a coroutine function; each is imported once."""
    found = functions()
    assert result(found, "operator:neg", payload(3)) == -3
    assert result(found, "builtins:str.upper", payload("a")) == "A"
    assert result(found, f"{__name__}:doubled", payload(4)) == 8
    assert found.runner_of(TASK, "operator:neg") is found.runner_of(TASK, "operator:neg")


def test_a_function_is_found_by_its_registered_name() -> None:
    """The name need not contain a module."""

    @task(name="of the functions' test")
    def seven() -> int:
        return 7

    assert result(functions(), "of the functions' test", payload()) == 7


@pytest.mark.parametrize("name", ["no_such_module:f", "operator:no_such", "sys:path", "nowhere registered"])
def test_an_unknown_function_is_handed_back_and_reported_once(name: str) -> None:
    """That costs the task no attempt: another worker may know the function."""
    warnings: list[str] = []
    found = functions(warnings=warnings)
    assert [ran(found, name, payload()).outcome for _ in range(2)] == [Outcome.UNKNOWN] * 2
    assert len(warnings) == 1
    assert warnings[0].startswith(f"This worker cannot run {name} and hands it back: ")


def test_an_unknown_name_is_looked_up_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module may have failed to import, perhaps after registering some functions, or it may be new."""
    monkeypatch.syspath_prepend(tmp_path)
    now, warnings = [0.0], list[str]()
    found = Functions(None, "pickle", 1 << 20, warnings.append, lambda: now[0])
    module = tmp_path / "late_module.py"
    for text in (None, "import distq\n@distq.task\ndef f(): return 1\nraise OSError('no database')\n"):
        if text is not None:
            module.write_text(text)
        now[0] += RETRY_NAME_S
        assert [ran(found, "late_module:f", payload()).outcome for _ in range(2)] == [Outcome.UNKNOWN] * 2
    assert ["No module named" in warnings[0], "no database" in warnings[1], len(warnings)] == [True, True, 2]
    module.write_text("import distq\n@distq.task\ndef f(): return 22\n")
    assert ran(found, "late_module:f", payload()).outcome == Outcome.UNKNOWN
    now[0] += RETRY_NAME_S
    assert result(found, "late_module:f", payload()) == 22
    sys.modules.pop("late_module")


def test_names_that_clients_invent_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that is never recycled stays small, with unknown names and with many names of one function."""
    monkeypatch.setattr(worker_functions, "RUNNERS_MAX", 10)
    found = functions()
    for number in range(50):
        assert ran(found, f"nowhere-{number}", payload()).outcome == Outcome.UNKNOWN
        assert result(found, f"{__name__}:doubled", payload(2)) == 4
        assert len(found._runners) <= 10
        assert set(found._coroutines) <= set(found._runners)
    assert found.coroutine_of(TASK, f"{__name__}:doubled") is not None


def test_plain_items_need_a_plain_handler() -> None:
    """A worker of structured tasks hands them back."""
    assert ran(functions(), PLAIN, pickle.dumps(1), PLAIN).outcome == Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("options", "error", "outcome"),
    [
        ({}, ValueError("no"), Outcome.FAILURE),
        ({"no_retry_for": ValueError}, ValueError("no"), Outcome.FATAL),
        ({"retry_for": KeyError}, ValueError("no"), Outcome.FATAL),
        ({"retry_for": KeyError}, KeyError("no"), Outcome.FAILURE),
        ({}, TimeLimitExceeded("exceeded time limit 1 s"), Outcome.TIMEOUT),
        ({"no_retry_for": TimeLimitExceeded}, TimeLimitExceeded("exceeded time limit 1 s"), Outcome.FATAL),
        ({}, SystemExit(3), Outcome.FAILURE),
        ({}, asyncio.CancelledError("upstream"), Outcome.FAILURE),
        ({}, GeneratorExit(), Outcome.FAILURE),
    ],
)
def test_the_functions_options_decide_the_outcome_of_an_exception(
    options: dict[str, Any], error: BaseException, outcome: int
) -> None:
    """`retry_for` and `no_retry_for` decide whether the task is retried."""

    @task(name="raises", **options)
    def raises_with_options(error: BaseException) -> None:
        raise error

    end = ran(functions(), "raises", payload(error))
    assert end.outcome == outcome
    assert unpack_failure(end.body).kind.endswith(type(error).__qualname__)


def test_a_result_that_is_too_large_is_final() -> None:
    """The task has done its work, so a retry would not help; the error names the size."""
    end = ran(functions(bytes_max=100), "builtins:bytes", payload(1000))
    assert end.outcome == Outcome.FATAL
    assert "The task had run, but its result has" in end.text
    assert "bytes, and 100 are allowed" in end.text


class Unwilling:
    """An object that raises when it is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        """Refuse."""
        raise self.error


def unsendable(how: str) -> object:
    """Return an object that cannot be sent."""
    values = {"lock": threading.Lock, "exits": lambda: Unwilling(SystemExit(3)), "late": _late}
    return values[how]()


def _late() -> object:
    return Unwilling(TimeLimitExceeded("exceeded time limit 1 s"))


async def unsendable_later(how: str) -> object:
    """Do the same in a coroutine function."""
    return unsendable(how)


def parts(value: object) -> Any:
    """Yield two parts, of which the second is this value."""
    try:
        yield 1
        yield value
    finally:
        closed.append(True)


closed: list[bool] = []


@pytest.mark.parametrize("name", ["unsendable", "unsendable_later"])
@pytest.mark.parametrize("how", ["lock", "exits", "late"])
def test_a_failure_after_the_function_has_returned_is_final_and_says_so(name: str, how: str) -> None:
    """The task has had its effects: a retry would not undo them."""
    end = ran(functions(), f"{__name__}:{name}", payload(how))
    assert end.outcome == Outcome.FATAL
    assert "ResultNotSent: The task had run, but its result cannot be sent: " in end.text
    error = exception_of(end.body, None)
    assert isinstance(error, ResultNotSent)
    assert str(error).startswith("The task had run, but its result cannot be sent: ")


class Brittle:
    """An object whose unpickling raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        """Raise when the object is unpickled."""
        return raises, (self.error,)


@task(name="takes")
def takes(value: object) -> object:
    """Be a task with retries."""
    return value


@task(name="takes later")
async def takes_later(value: object) -> object:
    """Be the same as a coroutine function."""
    return value


@pytest.mark.parametrize("name", ["takes", "takes later", GATHERED])
@pytest.mark.parametrize(
    ("single", "text"),
    [
        (True, "The result before this task cannot be read on its worker: "),
        (False, "Result 2 of 2 before this task cannot be read on its worker: "),
    ],
)
@pytest.mark.parametrize("error", [LookupError("a part is missing"), SystemExit(3)])
def test_a_result_of_a_dependency_that_cannot_be_unpickled_is_final(
    name: str, text: str, error: BaseException, *, single: bool
) -> None:
    """Another attempt would read the same bytes; the error says which result it is."""
    unreadable: DependencyEnd = True, pickle.dumps(Brittle(error), 5), []
    ends = [unreadable] if single else [(True, pickle.dumps(1, 5), []), unreadable]
    found = functions()
    found.runner_of(TASK, name)
    end = ran(found, name, with_dependencies(payload(), ends, single=single))
    assert end.outcome == Outcome.FATAL
    cause = exception_of(end.body, None)
    assert isinstance(cause, distq.DependencyUnreadable)
    assert str(cause).startswith(text + type(error).__name__)


def test_a_result_that_json_cannot_hold_is_final() -> None:
    """The client has requested JSON, and a date has no form in it."""
    end = ran(functions(), "datetime:date.today", pack_json([], {}))
    assert (end.outcome, "not JSON serializable" in end.text) == (Outcome.FATAL, True)


@pytest.mark.parametrize(("value", "text"), [(threading.Lock(), "cannot pickle"), (b"x" * 200, "bytes, and 100")])
def test_a_part_that_cannot_be_sent_is_final_and_closes_the_generator(
    value: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator's `finally` runs where it stands, and the stream is not started again."""
    reports, pickled = _streams(monkeypatch), payload("it")
    task(name="a stream of the functions' test")(lambda _: parts(value))
    closed.clear()
    end = ran(functions(bytes_max=100), "a stream of the functions' test", pickled)
    assert (end.outcome, text in end.text, closed, len(reports)) == (Outcome.FATAL, True, [True], 1)


def _streams(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the list that collects the notes of tasks to the master."""
    reports: list[bytes] = []
    running = SimpleNamespace(_report=lambda _outcome, body: reports.append(pickle.loads(body[PART_NUMBER.size :])))
    monkeypatch.setattr("distq.worker.executor.returned.current", lambda: running)
    return reports


async def _tokens(n: int) -> Any:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def _numbers(n: int) -> Any:
    yield from range(n)
    return "end"


class Later:
    """An awaitable that is no coroutine, and can be pickled."""

    def __await__(self) -> Any:
        """Wait for one cycle of the loop."""
        yield from asyncio.sleep(0).__await__()
        return 7


@pytest.mark.parametrize(
    ("function", "args", "returned", "streamed"),
    [
        (wrapped(doubled), (4,), 8, []),
        (_tokens, (3,), None, [0, 1, 2]),
        (wrapped(_tokens), (2,), None, [0, 1]),
        (_numbers, (2,), "end", [0, 1]),
        (wrapped(_numbers), (2,), "end", [0, 1]),
        (Later, (), 7, []),
    ],
)
def test_the_returned_object_decides_how_a_function_runs(
    function: Any, args: tuple[Any, ...], returned: object, streamed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain decorator around a coroutine function or a generator changes nothing; async generators stream."""
    reports = _streams(monkeypatch)
    task(name=f"returns {function!r}")(function)
    assert result(functions(), f"returns {function!r}", payload(*args)) == returned
    assert reports == streamed


def test_a_worker_of_json_runs_only_registered_tasks_with_json() -> None:
    """The worker loads no part of a pickle, and imports nothing."""

    @task(name="json's test")
    def add(a: int, b: int) -> int:
        return a + b

    found = functions("json")
    assert found.runner_of(TASK, "json's test")(pack_json([1], {"b": 2})) == b"3"
    refused = ran(found, "json's test", payload(1, 2))
    assert (refused.outcome, "accepts only JSON" in refused.text) == (Outcome.FATAL, True)
    assert ran(found, "os:getpid", pack_json([], {})).outcome == Outcome.UNKNOWN


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is a sentence, for any exception of the import."""
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(4)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleUnusable, match=r"The module exits_at_import cannot be imported: SystemExit: 4\."):
        import_modules(["operator", "exits_at_import"])
    sys.modules.pop("exits_at_import", None)


@pytest.mark.parametrize("kind", [TASK, PLAIN])
@pytest.mark.parametrize(
    ("raised", "outcome", "text", "after_s"),
    [
        (distq.Snooze(2, "not there"), Outcome.SNOOZED, "Snooze: not there", 2.0),
        (distq.Discard("too old"), Outcome.DISCARDED, "discarded: too old", None),
        (distq.Discard(), Outcome.DISCARDED, "discarded", None),
        (distq.Retry(after=3, why="busy"), Outcome.FAILURE, "Retry: busy", 3.0),
        (distq.Retry(), Outcome.FAILURE, "Retry", None),
    ],
)
def test_the_outcome_that_a_function_requests_is_its_outcome(
    kind: str, raised: BaseException, outcome: int, text: str, after_s: float | None
) -> None:
    """The test covers tasks and plain handlers."""
    found = Functions(_raise, "pickle", 1 << 20, print)
    body = pickle.dumps(raised) if kind == PLAIN else payload(raised)
    end = ran(found, "" if kind == PLAIN else f"{__name__}:raises", body, kind)
    assert (end.outcome, end.text, end.delay_s) == (outcome, text, after_s)


def _raise(item: object) -> None:
    assert isinstance(item, BaseException)
    raise item
