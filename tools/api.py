"""Writes docs/reference/api.md from the signatures and docstrings of the names that `distq` exports.

`python -m tools.api` writes the file; a test fails if it differs from the code.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import distq
from distq import testing
from distq.client.future_state import FutureState
from distq.core.ranges import COUNTS, DAY_S, SPANS
from distq.tasks import options
from distq.tasks.options import CHAIN, OF_CODE, SCHEDULE, SUBMIT, USES, Options

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "api.md"
SECTIONS: Final = {
    "Clients": ("Client", "Submitter", "Scheduled"),
    "Futures": ("TaskFuture", "progress", "Progress"),
    "asyncio": ("AsyncClient", "AsyncSubmitter", "AsyncFuture"),
    "Tasks": ("task", "call", "Call", "lifespan", "Lifespan", "injected"),
    "In a task": ("current", "Current", "Retry", "Snooze", "Discard", "Interrupted"),
    "Managers of the standard library": ("QueueManager", "EmbeddedMaster"),
}
TESTING: Final = ("cluster", "Cluster", "eager", "Eager", "SubmittedTask")
"""The names of `distq.testing` that the section about tests describes; its table of errors has the others."""
ELSEWHERE: Final = ("Settings", "__version__")
"""Names of `distq` that the page mentions in its introduction only."""
INTRODUCTION: Final = """\
# Python API

<!-- Written by `python -m tools.api` from the signatures and docstrings of the package. -->

Import every name on this page from `distq`, and those of the section [Tests](#tests) from `distq.testing`. Names that
are not on this page may change in any version.

A **duration** is a number of seconds, a `timedelta`, or a text such as `500ms`, `30s` or `1h30m`. A **timeout** is a
number of seconds, a `timedelta`, or `None` for no limit. A value of a wrong type raises `TypeError`, a value out of
range raises `ValueError`.

`distq.Settings` holds [every setting](settings.md); `distq.__version__` is the version.
"""
ERRORS: Final = (
    "Every error of distq is a `distq.DistqError`; `error.code` is a stable word, `error.hint` says what to do.\n"
)
TESTS: Final = "[Test your tasks](../how-to/test-your-tasks.md) shows how they are used.\n"
INTERNAL: Final = {
    "TaskFuture": (
        "claim",
        "fail",
        "has_callbacks",
        "forget_seal",
        "has_ended",
        "has_failed",
        "is_cancelled",
        "packed_outcome",
        "reads",
        "settle",
        "task_key",
        "unseen",
        "wait_for_end",
        "wait_until_ended",
        "withdraw",
    ),
    "AsyncFuture": (
        "check_loop",
        "forget",
        "has_callbacks",
        "forget_seal",
        "has_ended",
        "has_failed",
        "is_cancelled",
        "reads",
        "task_key",
        "unseen",
        "wait_for_acceptance",
        "wait_until_ended",
        "waiter",
        "waits_for_room",
        "withdraw",
        "withdraw_unsent",
    ),
    "Lifespan": ("function", "is_up", "tear_down", "value"),
}
"""Attributes that only the modules of distq use."""
NOT_CONSTRUCTED: Final = (
    distq.TaskFuture,
    distq.Submitter,
    distq.Lifespan,
    distq.AsyncFuture,
    distq.AsyncSubmitter,
)
"""Classes whose objects only calls return."""
_SECTION: Final = re.compile(r"^(Args|Raises|Returns|Yields):$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^ {4}(\*{0,2}[\w, ]+): ", re.MULTILINE)


def page() -> str:
    """Return the text of the page."""
    lines = [INTRODUCTION]
    for title, names in SECTIONS.items():
        lines.append(f"## {title}\n")
        for name in names:
            lines += _described(name, getattr(distq, name))
    lines += ["## Options\n", *option_table(), "", "## Errors\n", ERRORS, *_error_table(errors())]
    lines += ["\n## Tests\n", TESTS]
    for name in TESTING:
        lines += _described(name, getattr(testing, name), "distq.testing")
    lines += ["### Errors of tests\n", *_error_table(errors_of_testing())]
    pieces = re.split(r"(```python\n.*?```)", "\n".join(lines), flags=re.DOTALL)
    pieces[::2] = [re.sub(r"\n{3,}", "\n\n", prose) for prose in pieces[::2]]
    return "".join(pieces).rstrip() + "\n"


def errors() -> list[type[BaseException]]:
    """Return every exported exception that no section describes, sorted by name."""
    shown = {name for names in SECTIONS.values() for name in names}
    exported = (getattr(distq, name) for name in distq.__all__ if name not in shown)
    return sorted(
        (error for error in exported if inspect.isclass(error) and issubclass(error, BaseException)), key=_name_of
    )


def errors_of_testing() -> list[type[BaseException]]:
    """Return every exception of `distq.testing`, sorted by name."""
    return sorted((getattr(testing, name) for name in testing.__all__ if name not in TESTING), key=_name_of)


def _described(name: str, value: Any, module: str = "distq") -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"### `{module}.{name}{_signature(value)}`\n"
        yield _as_markdown(inspect.getdoc(value) or "")
        return
    yield f"### `class {module}.{name}{_constructor(value)}`\n"
    yield _as_markdown(inspect.getdoc(value) or "")
    if attributes := list(_attributes(value)):
        yield "\n| attribute | what |\n|---|---|"
        yield from attributes
        yield ""
    for key, member in vars(value).items():
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and function.__doc__ and not _is_internal(name, key):
            yield f"#### `{name}.{key}{_signature(function)}`\n"
            yield _as_markdown(inspect.getdoc(function) or "")


def _attributes(cls: type) -> Iterator[str]:
    """Yield a table row for each public attribute of a class with a docstring: annotated ones, and properties."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for name, text in attribute_docstrings(tree).items():
        if _is_internal(cls.__name__, name):
            continue
        yield f"| `{name}` | {_in_a_row(text)} |"
    members = {**(vars(FutureState) if issubclass(cls, FutureState) else {}), **vars(cls)}
    for name, member in members.items():
        if isinstance(member, property) and not _is_internal(cls.__name__, name):
            yield f"| `{name}` | {_in_a_row(inspect.getdoc(member) or '')} |"


def attribute_docstrings(tree: ast.ClassDef) -> dict[str, str]:
    """Return the docstring below each public annotated attribute of a class, or an empty text without one."""
    found: dict[str, str] = {}
    body = [*tree.body, ast.Pass()]
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            found[node.target.id] = str(following.value.value) if is_text else ""  # type: ignore[attr-defined] # see above
    return found


def _is_internal(cls: str, name: str) -> bool:
    return name.startswith("_") or name in INTERNAL.get(cls, ())


def _signature(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parts: list[str] = []
    has_star = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not has_star:
            has_star = True
            parts.append("*")
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            has_star = True
            parts.append(f"{'*' if parameter.kind is inspect.Parameter.VAR_POSITIONAL else '**'}{parameter.name}")
            continue
        text = (
            parameter.name
            if parameter.annotation is parameter.empty
            else f"{parameter.name}: {_annotation(parameter.annotation)}"
        )
        parts.append(text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}")
    returned = (
        "" if signature.return_annotation is inspect.Signature.empty else _annotation(signature.return_annotation)
    )
    return f"({', '.join(parts)})" + (f" -> {returned}" if returned not in ("", "None") else "")


def _constructor(cls: type) -> str:
    """Return the parameters of a class that programs construct, or an empty text for a class that calls return."""
    if cls.__init__ is object.__init__ or cls in NOT_CONSTRUCTED:  # type: ignore[misc]
        return ""
    is_returned = issubclass(cls, tuple) or cls in (distq.Current, distq.EmbeddedMaster, testing.Cluster, testing.Eager)
    return "" if is_returned or "__init__" not in vars(cls) else _signature(cls.__init__).removesuffix(" -> None")  # type: ignore[misc]


def _annotation(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.replace("typing.", "")


def _as_markdown(docstring: str) -> str:
    """Return a docstring in Google's style as paragraphs and lists."""
    parts = _SECTION.split(docstring)
    lines = [_code_fenced(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        entries, rest = _entries(body)
        lines += [f"\n{title}:\n", *(f"- {entry}" for entry in entries), f"\n{rest}" if rest else ""]
    return "\n".join(lines).rstrip() + "\n"


def _entries(body: str) -> tuple[list[str], str]:
    """Return the entries of a docstring's section, and the paragraphs after it."""
    indented: list[str] = []
    following: list[str] = []
    for line in body.strip("\n").splitlines():
        (following if following or (line and not line.startswith(" ")) else indented).append(line)
    text = "\n".join(indented)
    starts = [match.start() for match in _ENTRY.finditer(text)]
    entries = [
        _ENTRY.sub(lambda match: f"`{match[1].strip()}`: ", text[start:end], count=1)
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    ]
    return [" ".join(entry.split()) for entry in entries], "\n".join(following)


def _code_fenced(text: str) -> str:
    """Return the text with its indented lines as Python code."""
    pieces = re.split(r"((?:^(?: {4}.*)?\n)*^ {4}.*\n?)", text, flags=re.MULTILINE)
    return "".join(
        f"\n```python\n{textwrap.dedent(piece).strip()}\n```\n"
        if piece.strip() and piece.lstrip("\n").startswith("    ")
        else piece
        for piece in pieces
    ).strip()


def option_table() -> Iterator[str]:
    """Yield the lines of the table of options."""
    tree = ast.parse(inspect.getsource(options))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options")
    texts = attribute_docstrings(cls)
    yield "`@distq.task`, `client.options` and `call(...).options` take these keywords; `None` leaves one out.\n"
    yield "| option | value | takes effect in | what |"
    yield "|---|---|---|---|"
    for name in Options._fields:
        yield f"| `{name}` | {_range(name)} | {_calls(name)} | {_in_a_row(texts[name])} |"


def _calls(name: str) -> str:
    if name in OF_CODE:
        return "`@distq.task`"
    calls = USES[name][0] if name in USES else (SUBMIT, CHAIN, SCHEDULE)
    return "all calls" if len(calls) == 3 else ", ".join(f"`{call}`" for call in calls)


def _range(name: str) -> str:
    if name in COUNTS:
        return f"{COUNTS[name].least:,} to {COUNTS[name].most:,}"
    if name not in SPANS:
        return _KINDS[name]
    span = SPANS[name]
    least = "above 0 s" if span.positive else f"{span.least_s:g} s"
    alternatives = "`raise`, `block`, or " if name == "full" else ""
    return f"{alternatives}duration, {least} to {span.most_s / DAY_S:g} days"


_KINDS: Final = {
    "eta": "datetime with a time zone, or seconds since 1970",
    "queue": "text, at most 64 bytes",
    "requires": "label, or several",
    "executor": "`process`, `thread`",
    "concurrency_key": "text, at most 64 bytes, or function",
    "unique_key": "text, at most 64 bytes, or function",
    "on_conflict": "`reject`, `return`, `replace`",
    "cron": "text, at most 512 bytes",
    "timezone": "text, at most 128 bytes",
    "overlap": "`True`, `False`",
    "catch_up": "`one`, `all`, `none`",
    "headers": "texts by name",
    "on_failure": "`fail`, `cancel`, `run`",
    "retry_for": "exception class, or a tuple of them",
    "no_retry_for": "exception class, or a tuple of them",
}


def _error_table(listed: list[type[BaseException]]) -> Iterator[str]:
    yield "| error | is also | code | what happened | what to do |"
    yield "|---|---|---|---|---|"
    for error in listed:
        also = ", ".join(f"`{base.__name__}`" for base in error.__bases__ if base is not distq.DistqError)
        code = getattr(error, "code", "")
        what = _in_a_row((inspect.getdoc(error) or "").split("\n\n")[0])
        yield f"| `{error.__name__}` | {also} | `{code}` | {what} | {_in_a_row(getattr(error, 'hint', ''))} |"


def _in_a_row(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _name_of(value: type) -> str:
    return value.__name__


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
