"""The tools of `distq mcp`: their schemas, the limits of their results, and wrong arguments."""

import json
import sys
from functools import partial
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from distq.cli.app import run
from distq.cli.mcp.bounds import CAUSES_MAX, PAGE_CHARS_MAX, TEXT_CHARS_MAX, bounded, cut_traceback, page
from distq.cli.mcp.fields import RESULTS
from distq.cli.mcp.reader import READING, ClusterReader
from distq.cli.mcp.server import WrongArguments, answer, checked
from distq.cli.mcp.tools import ROWS_MAX, TOOLS
from distq.settings import Role, load

NO_CONNECTION: Any = None
SETTINGS = load({"DISTQ_AUTHKEY": "k" * 32, "DISTQ_ADDRESS": "127.0.0.1:1"}, Role.CLIENT).settings


@pytest.mark.parametrize("name", list(TOOLS))
def test_every_tool_has_schemas_with_descriptions(name: str) -> None:
    """Arguments and results are objects, each argument and field says what it is, and no other argument is accepted."""
    tool = TOOLS[name]
    for schema in (tool.input_schema, tool.output_schema):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    assert tool.input_schema["additionalProperties"] is False
    assert all(field["description"].endswith(".") for field in tool.input_schema["properties"].values())
    assert tool.description.endswith(".")
    assert RESULTS.keys() == TOOLS.keys()


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("drop_all", {}, "There is no tool 'drop_all'. There are status, list_queues"),
        ("status", {"queue": "q"}, "A call of status is wrong: Additional properties are not allowed ('queue' was"),
        ("show_task", {}, "A call of show_task is wrong: 'id' is a required property."),
        ("list_tasks", {"limit": ROWS_MAX + 1}, "The argument limit of list_tasks is wrong: 101 is greater than"),
        ("list_tasks", {"limit": "9"}, "The argument limit of list_tasks is wrong: '9' is not of type 'integer'."),
        ("list_tasks", {"states": ["lost"]}, "The argument states[0] of list_tasks is wrong: 'lost' is not one of"),
        ("why", {"id": "x" * 1000}, "The argument id of why is wrong: "),
        ("list_queues", {"offset": -1}, "The argument offset of list_queues is wrong: -1 is less than the minimum"),
    ],
)
def test_wrong_arguments_are_a_sentence_before_the_master_is_asked(
    name: str, arguments: dict[str, Any], part: str
) -> None:
    """No master is there, and the sentence is not about that."""
    with pytest.raises(WrongArguments) as caught:
        answer(SETTINGS, name, arguments)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, tool in TOOLS.items() for field in tool.takes if tool.takes[field]["type"] == "integer"],
)
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(name: str, field: str) -> None:
    """In JSON Schema 20.0 is an integer; the master receives 20, and a number that is too large gets the same limit."""
    arguments = checked(TOOLS[name], {field: 20.0})
    assert (arguments, type(arguments[field])) == ({field: 20}, int)
    for wrong in (20.5, float("inf"), float("nan"), TOOLS[name].takes[field]["maximum"] + 1.0, True):
        with pytest.raises(WrongArguments, match=f"The argument {field} of {name} is wrong: "):
            checked(TOOLS[name], {field: wrong})


@pytest.mark.parametrize("field", ["since", "until"])
def test_an_instant_that_is_no_number_is_refused_before_the_master_is_asked(field: str) -> None:
    """A comparison with NaN is false, so that the schema alone would accept it."""
    with pytest.raises(WrongArguments, match=f"The argument {field} of list_dead_letters is wrong: nan is no number"):
        answer(SETTINGS, "list_dead_letters", {field: float("nan")})


def test_a_page_ends_before_it_is_too_large() -> None:
    """The next page begins after the last row of this one; a row is never lost, not even a large one."""
    rows = [{"id": f"1-{number}", "texts": ["x" * TEXT_CHARS_MAX] * 10} for number in range(100)]
    seen: list[Any] = []
    place: int | None = 0
    while place is not None:
        kept, place = page(rows[place:], None, partial(int.__add__, place))
        assert 0 < len(json.dumps(kept)) <= PAGE_CHARS_MAX + 2 * len(kept) + 2
        seen += [row["id"] for row in kept]
    assert seen == [row["id"] for row in rows]
    large = {"texts": ["x" * TEXT_CHARS_MAX] * 200}
    assert page([large, large], "end", lambda count: count) == ([large], 1)
    assert page(rows[:2], "end", lambda count: count) == (rows[:2], "end")


def test_texts_and_causes_are_cut() -> None:
    """The result says how long a text is; of the causes the newest remain, each with its instant."""
    causes, times = [f"{number}: no" for number in range(9)], [None, *map(float, range(8))]
    found = bounded({"name": "n" * 1000, "causes": causes, "caused_at": times, "after": None})
    assert found["name"] == "n" * TEXT_CHARS_MAX + "… (1,000 characters)"
    assert (found["causes"], found["caused_at"]) == (causes[-CAUSES_MAX:], times[-CAUSES_MAX:])
    assert cut_traceback("Traceback\n" * 10_000 + "KeyError: 'a'").endswith("KeyError: 'a'")


def test_a_reader_makes_no_request_that_changes_anything() -> None:
    """The list of requests is short, and a reader has no other call of the master."""
    assert not [what for what in READING if any(word in what for word in ("purge", "retry", "cancel", "set", "put"))]
    assert {name for name in vars(ClusterReader) if not name.startswith("_")} == {"ask", "stats"}
    with pytest.raises(AssertionError, match="dead_purge"):
        ClusterReader(NO_CONNECTION).ask("dead_purge", ids=["1-2a"])


def test_a_missing_sdk_is_a_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.delitem(sys.modules, "distq.cli.mcp.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    assert run(["mcp"]) == 2
    assert "pip install 'distq[mcp]'" in capsys.readouterr().err
