"""Tests that the submitted function is the one that runs: names, decorators, methods, two tasks of one name."""

import datetime as dt
import functools
import importlib
import math
import operator
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import distq
from distq.tasks.function import NotATask, TwoTasks, called_by_name, named, spec_of
from distq.tasks.identity import path_of


def audited(function: Any) -> Any:
    """Decorate a function as programs usually do."""

    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return ("audited", function(*args))

    return inner


@audited
@distq.task(retries=2)
def pays(n: int) -> int:
    """Run as a task with a decorator above it."""
    return n


@audited
@distq.task(name="identity's named")
def named_pays(n: int) -> int:
    """The same, with a name of its own."""
    return n


@functools.lru_cache
@distq.task
def cached(n: int) -> int:
    """Behind an object in C."""
    return n


class Account:
    """A class with methods of every kind."""

    @classmethod
    def make(cls, n: int) -> tuple[str, int]:
        """Say whose it is."""
        return cls.__name__, n

    @classmethod
    @distq.task(name="identity's made")
    def made(cls, n: int) -> tuple[str, int]:
        """The same as a task."""
        return cls.__name__, n

    @distq.task(name="identity's kept")
    @staticmethod
    def kept(n: int) -> int:
        """Need no account."""
        return n

    @distq.task(name="identity's drawn")
    def drawn(self, n: int) -> tuple[str, int]:
        """A task that is a method."""
        return type(self).__name__, n


class Savings(Account):
    """A class that inherits the methods."""


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (pays, (1,), ("audited", 1)),
        (named_pays, (1,), ("audited", 1)),
        (cached, (1,), 1),
        (Account.make, (1,), ("Account", 1)),
        (Savings.make, (1,), ("Savings", 1)),
        (Account.made, (1,), ("Account", 1)),
        (Account.kept, (1,), 1),
        (Account.drawn, (Account(), 1), ("Account", 1)),
        (math.sqrt, (4,), 2.0),
        (operator.add, (1, 2), 3),
        (str.upper, ("a",), "A"),
        (int.__add__, (1, 2), 3),
        (dict, ([(1, 2)],), {1: 2}),
        (dt.date.fromisoformat, ("2026-11-27",), dt.date(2026, 11, 27)),
        (abs, (-1,), 1),
    ],
)
def test_a_worker_calls_what_people_call(function: Any, args: tuple[Any, ...], result: object) -> None:
    """With the decorators above `@distq.task`, and by the class that a class method was taken from."""
    name = spec_of(function).name
    module, _, path = name.partition(":")
    registered = named(name) or operator.attrgetter(path)(importlib.import_module(module))
    assert called_by_name(name, registered)(*args) == result == function(*args)


def test_the_options_of_a_task_below_a_decorator_are_its_own() -> None:
    """`functools.wraps` copies them to the wrapper."""
    assert spec_of(pays).options.retries == 2


def renamed(function: Any, module: str, qualname: str) -> Any:
    """A function that says so of itself."""
    copy = types.FunctionType(function.__code__, {})
    copy.__module__, copy.__qualname__ = module, qualname
    return copy


def two(n: int) -> int:
    """Has other code than any function here."""
    return n + 2


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (Account().drawn, "bound to an object"),
        (types.MethodType(two, Account()), "bound to an object"),
        ("abc".upper, "bound to an object"),
        ([].append, "bound to an object"),
        (Savings.made, 'is not what the name "identity\'s made" leads to'),
        (functools.partial(pow, 2), "no name in a module"),
        (operator.itemgetter(1), "no name in a module|cannot be imported|bound"),
        (renamed(two, "math", "sqrt"), "not what workers import by its name, math:sqrt"),
        (renamed(two, "no_such_module", "two"), "there is no no_such_module:two"),
        (renamed(two, __name__, "no_such"), "there is no "),
        (functools.wraps(pays)(renamed(two, __name__, "pays")), "is not what the name|not what workers import"),
    ],
)
def test_a_function_whose_name_a_worker_resolves_to_another_is_refused_at_the_submit(function: Any, text: str) -> None:
    """The error says what the worker would find."""
    with pytest.raises(NotATask, match=text):
        spec_of(function)


def test_a_function_that_was_replaced_in_its_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in the module now belongs to another function."""
    original = two
    assert spec_of(original).name == path_of(original)
    monkeypatch.setattr(f"{__name__}.two", pays)
    with pytest.raises(NotATask, match="not what workers import"):
        spec_of(original)


def send(text: str) -> str:
    """One of two."""
    return text


def test_two_functions_of_one_name_are_refused_where_the_second_is_decorated() -> None:
    """The error names both places, and the first task stays valid."""
    distq.task(name="identity's send")(send)
    distq.task(name="identity's send")(send)
    with pytest.raises(TwoTasks, match=r"test_identity:send \(.*test_identity\.py:\d+\) and .*:two \(") as caught:
        distq.task(name="identity's send")(two)
    assert isinstance(caught.value, TypeError)
    assert named("identity's send") is send


def test_a_closure_made_twice_under_one_name_is_only_submitted_as_the_last() -> None:
    """Both closures have the same code, but different variables."""

    def made(n: int) -> Any:
        @distq.task(name="identity's closure")
        def closure() -> int:
            return n

        return closure

    first, last = made(1), made(2)
    assert spec_of(last).name == "identity's closure"
    with pytest.raises(NotATask, match="is not what the name"):
        spec_of(first)


TASKS = """
import distq
@distq.task(name="identity's reloaded")
def {name}(n): return n
@distq.task
def plain(n): return n
"""


def test_a_module_that_is_read_again_or_by_another_name_makes_no_second_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`importlib.reload`, also with another name of the function; the file imported as a part of a package as well."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "identity_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    file = package / "again.py"
    file.write_text(TASKS.format(name="one"))
    module = importlib.import_module("identity_package.again")
    before = module.plain
    importlib.reload(module)
    assert spec_of(before).name == "identity_package.again:plain"
    file.write_text(TASKS.format(name="another"))
    importlib.invalidate_caches()
    sys.modules.pop("identity_package.again")
    monkeypatch.syspath_prepend(package)
    with pytest.raises(TwoTasks):
        importlib.import_module("again")  # another function, of another module
    file.write_text(TASKS.format(name="one"))
    sys.modules.pop("again", None)
    again = importlib.import_module("again")
    assert spec_of(again.one).name == "identity's reloaded"
    file.write_text(TASKS.format(name="quite_another"))
    importlib.reload(again)
    assert named("identity's reloaded") is again.quite_another


def test_a_notebook_writes_a_task_again() -> None:
    """A notebook's functions belong to `__main__`."""
    cell = 'import distq\n@distq.task(name="identity\'s cell")\ndef {}(n): return n\n'
    for name in ("first", "first", "second"):
        exec(cell.format(name), {"__name__": "__main__"})
        found = named("identity's cell")
        assert found is not None
        assert found.__name__ == name
