"""Tests of what an executor sets up once for all its tasks, and tears down at its end."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

import distq
from distq.tasks import lifespan as module
from distq.tasks.lifespan import LifespanUnusable, injections_of, set_up_all, tear_down_all


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Remove the hooks of other tests, before and after the test."""
    module.hooks.clear()
    yield
    tear_down_all(lambda _: None)
    module.hooks.clear()


def noting(events: list[str], name: str) -> distq.Lifespan[str]:
    """Return a hook that notes its calls."""

    def hook() -> Generator[str, None, None]:
        events.append(f"{name} up")
        yield name
        events.append(f"{name} down")

    return distq.lifespan(hook)


def test_a_hook_is_set_up_once_and_hooks_are_torn_down_in_reverse_order() -> None:
    """The hook's value exists in between."""
    events: list[str] = []
    first, second = noting(events, "first"), noting(events, "second")
    set_up_all()
    assert (first.value(), second.value(), first.value()) == ("first", "second", "first")
    tear_down_all(events.append)
    assert events == ["first up", "second up", "second down", "first down"]


def test_a_parameter_is_found_by_its_default() -> None:
    """Other parameters stay as they are."""
    hook = noting([], "model")

    def predict(text: str, model: str = distq.injected(hook), *, top: int = 3) -> tuple[str, str, int]:
        return text, model, top

    assert injections_of(predict) == {"model": hook}
    assert injections_of(len) == {}


def test_a_call_of_a_task_outside_an_executor_is_an_error_about_its_hook() -> None:
    """At the first thing that is wanted of it."""
    hook = noting([], "model")

    def predict(model: Any = distq.injected(hook)) -> Any:
        return model.guess()

    with pytest.raises(RuntimeError, match="is set up in executors only"):
        predict()


def test_an_error_of_a_hook_names_the_hook_and_the_reason() -> None:
    """The error may come at set-up or at the end; a hook that yields never or twice fails too."""

    @distq.lifespan
    def bad() -> Generator[None, None, None]:
        raise OSError("no such model")
        yield

    with pytest.raises(LifespanUnusable, match=r"bad has failed: OSError: no such model\."):
        set_up_all()
    module.hooks.clear()

    @distq.lifespan
    def leaves() -> Generator[None, None, None]:
        raise SystemExit(3)
        yield

    with pytest.raises(LifespanUnusable, match="leaves has failed: SystemExit: 3"):
        leaves.value()

    @distq.lifespan
    def slow() -> Generator[None, None, None]:
        raise distq.TimeLimitExceeded("exceeded time limit 1 s")
        yield

    with pytest.raises(distq.TimeLimitExceeded):
        slow.value()

    @distq.lifespan
    def empty() -> Generator[None, None, None]:
        yield from ()

    with pytest.raises(LifespanUnusable, match="has yielded nothing"):
        empty.value()

    @distq.lifespan
    def twice() -> Generator[int, None, None]:
        yield 1
        yield 2

    @distq.lifespan
    def stuck() -> Generator[int, None, None]:
        yield 1
        raise ValueError("stuck")

    events: list[str] = []
    twice.value()
    stuck.value()
    tear_down_all(events.append)
    assert [sentence.partition(">.")[2] for sentence in events] == [
        "stuck could not end: ValueError: stuck.",
        "twice yields more than once.",
    ]


@pytest.mark.parametrize("function", [len, lambda: None, 7])
def test_a_function_that_is_no_generator_function_cannot_be_a_hook(function: Any) -> None:
    """A generator function with parameters cannot be a hook either."""
    with pytest.raises(TypeError, match="no generator function"):
        distq.lifespan(function)

    def asks(path: str) -> Generator[str, None, None]:
        yield path

    with pytest.raises(TypeError, match="no generator function"):
        distq.lifespan(asks)  # type: ignore[arg-type] # that is what is refused
    with pytest.raises(TypeError, match=r"not made by @distq\.lifespan"):
        distq.injected(function)
