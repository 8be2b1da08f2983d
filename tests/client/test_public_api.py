"""Tests of the names of `distq`: a program can import each class that a public call raises, returns or takes."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tidy.tree import python_files, text

import distq

CLASSES = {
    node.name: path
    for path in python_files("src")
    for node in ast.walk(ast.parse(text(path)))
    if isinstance(node, ast.ClassDef)
}
"""Every class of the package, with the file that defines it."""
STANDARD = {"Queue", "Any", "Task"}
"""Names that a class of the package shares with the standard library; public signatures mean the latter."""
NOT_CONSTRUCTED = {"AsyncFuture", "TaskFuture", "Settings"}
"""Classes whose instances a program only gets from other calls."""
PUBLIC_FOLDERS = ("client", "tasks")


def public_members() -> Iterator[tuple[str, object]]:
    """Yield every public name of `distq`, and every public attribute that a class of distq defines."""
    for name in sorted(set(distq.__all__) - {"__version__"}):
        value = getattr(distq, name)
        yield name, value
        if inspect.isclass(value):
            for base in value.__mro__:
                if base.__module__.startswith("distq."):
                    yield from (
                        (f"{name}.{key}", member)
                        for key, member in vars(base).items()
                        if not key.startswith("_") or (key == "__init__" and name not in NOT_CONSTRUCTED)
                    )


def identifiers_of_annotations(member: object) -> set[str]:
    """Return the identifiers in the annotations of a function, method or property, without its module's aliases."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    annotations = getattr(function, "__annotations__", {}) if inspect.isroutine(function) else {}
    return {
        identifier for annotation in annotations.values() for identifier in re.findall(r"\b[A-Z]\w+", str(annotation))
    }


def identifiers_of_docstring(member: object) -> set[str]:
    """Return the identifiers in a docstring that look like classes."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return set(re.findall(r"\b[A-Z][a-z]\w*[A-Z]\w+", inspect.getdoc(function) or ""))


MEMBERS = dict(public_members())


@pytest.mark.parametrize("member", MEMBERS)
def test_a_class_that_a_public_call_names_can_be_imported_from_distq(member: str) -> None:
    """The signature or the docstring of the call names the class."""
    named = (identifiers_of_annotations(MEMBERS[member]) | identifiers_of_docstring(MEMBERS[member])) & CLASSES.keys()
    hidden = {identifier for identifier in named - STANDARD - set(distq.__all__) if not identifier.endswith("Keywords")}
    assert hidden == set()


def test_the_errors_of_client_and_tasks_can_be_caught_by_a_public_class() -> None:
    """Each error is public, or is a subclass of a public error other than DistqError."""
    public = {getattr(distq, name) for name in distq.__all__} - {distq.DistqError}
    for name, path in CLASSES.items():
        if Path(path).parts[2] in PUBLIC_FOLDERS:
            module = ".".join(Path(path).with_suffix("").parts[1:])
            found = getattr(__import__(module, fromlist=[name]), name)
            if issubclass(found, distq.DistqError) and name not in INSIDE_A_TASK:
                assert public & set(found.__mro__), found


INSIDE_A_TASK = {"PayloadRefused"}
"""Errors that only the executor raises: the program gets TaskFailed."""


def test_every_public_name_exists() -> None:
    """Each name leads to a module that has it, and is listed everywhere."""
    for name in distq.__all__:
        assert getattr(distq, name) is not None
    assert set(distq.__all__) == {*distq._HOMES, "__version__"}
