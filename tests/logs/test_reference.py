"""The reference of logs has every event that the code logs, with its fields, and no other."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.tidy.tree import ROOT, python_files, text

LEVELS: Final = ("debug", "info", "warning", "error", "log")
FUNCTIONS: Final = ("log", "log_record", "log_output")
NOTED: Final = ("task_lost", "task_buried")
"""Events that the ledger notes and the master logs."""
ROW: Final = re.compile(r"^\| (`[a-z_`, ]+`) \| (\w+) \| (\w+) \| ([a-z_`, ]+) \| .+\. \|$", re.MULTILINE)
EVENT: Final = re.compile(r"[a-z]+(_[a-z]+)+")


def literals_of(node: ast.expr) -> tuple[str, ...]:
    """Return the names of the events that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,)
    if isinstance(node, ast.IfExp):
        return (*literals_of(node.body), *literals_of(node.orelse))
    return NOTED if isinstance(node, ast.Name) and node.id == "event" else ()


def logged() -> Iterator[tuple[str, set[str]]]:
    """Yield every event in the code, and its fields."""
    for path in python_files("src"):
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Call) and node.args:
                of_logger = isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
                if of_logger or (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
                    events = [
                        literal for arg in node.args[:2] for literal in literals_of(arg) if EVENT.fullmatch(literal)
                    ]
                    for event in events:
                        yield event, {keyword.arg for keyword in node.keywords if keyword.arg}


def test_every_event_is_in_the_reference_with_its_fields() -> None:
    """The reference has no other event; loggers bind the trace id, so that it is not named at each event."""
    written: dict[str, set[str]] = {}
    for events, _, _, fields in ROW.findall((ROOT / "docs" / "reference" / "logs.md").read_text(encoding="utf-8")):
        for event in re.findall(r"\w+", events):
            written[event] = set(re.findall(r"\w+", fields)) - {"trace_id"}
    found: dict[str, set[str]] = {}
    for event, fields in logged():
        found.setdefault(event, set()).update(fields)
    assert found == written
