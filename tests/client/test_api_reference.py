"""Tests that docs/reference/api.md describes the exports of `distq` as they are today."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from tools import api

import distq
from distq import testing
from distq.tasks.options import CHECKS, TaskKeywords


def test_the_page_is_up_to_date() -> None:
    """`python -m tools.api` would change nothing."""
    assert api.PAGE.read_text(encoding="utf-8") == api.page()


def test_the_page_describes_every_exported_name() -> None:
    """Each name is in a section, in the table of errors, or in the introduction."""
    described = {name for names in api.SECTIONS.values() for name in names} | {one.__name__ for one in api.errors()}
    assert described | set(api.ELSEWHERE) == set(distq.__all__)


def test_the_page_describes_every_name_of_the_testing_module() -> None:
    """Each name of `distq.testing` is in its section or in its table of errors."""
    assert set(api.TESTING) | {one.__name__ for one in api.errors_of_testing()} == set(testing.__all__)


def test_every_option_has_a_type_a_check_and_a_sentence() -> None:
    """The keywords that type checkers accept are those that distq checks and that the page explains."""
    assert list(TaskKeywords.__annotations__) == list(CHECKS)
    rows = [line.split(" | ") for line in api.option_table() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == list(CHECKS)
    assert all(len(row) == 4 and row[1] and row[3].endswith(". |") for row in rows)


def public_functions() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Yield the functions of `distq` and `distq.testing`, the methods of their classes, and the class's docstring."""
    for name, found in [(name, getattr(module, name)) for module in (distq, testing) for name in module.__all__]:
        if inspect.isfunction(found):
            yield name, found, ""
        for attribute, value in vars(found).items() if inspect.isclass(found) else ():
            if not attribute.startswith("_") and inspect.isfunction(value):
                yield f"{name}.{attribute}", value, found.__doc__ or ""


def test_a_public_function_that_raises_says_so() -> None:
    """Its docstring, or its class's, names the error, at least for errors that the function itself raises."""
    silent = []
    for name, function, of_class in public_functions():
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))
        text = f"{function.__doc__} {of_class}"
        if raises and "aise" not in text and "Error" not in text:
            silent.append(name)
    assert silent == []
