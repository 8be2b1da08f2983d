"""Logs are events with fields: JSON for machines, text for people."""

import io
import json
import logging
import math
import os
from collections.abc import Iterator

import pytest
import structlog

from distq.logs import configure, get_logger


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Restore the configuration of logging."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


def test_json_is_one_object_a_line() -> None:
    """Without a terminal, `auto` is JSON with time, level, event and fields."""
    stream = io.StringIO()
    configure("info", "auto", stream)
    get_logger().bind(pool="gpu").info("worker_connected", slots=4)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "worker_connected", "level": "info", "pool": "gpu", "slots": 4}


def test_json_takes_any_field() -> None:
    """Bytes, exceptions and objects become their repr; a traceback is a field."""
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        int("wrong")
    except ValueError as error:
        get_logger().exception("task_failed", body=b"\xff", error=error)
    event = json.loads(stream.getvalue())
    assert event["body"] == repr(b"\xff")
    assert event["error"] == repr(ValueError("invalid literal for int() with base 10: 'wrong'"))
    assert event["exception"].endswith("base 10: 'wrong'")


@pytest.mark.parametrize("no_color", [True, False])
def test_a_terminal_gets_text(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is text on a terminal, coloured unless NO_COLOR is set."""
    monkeypatch.setitem(os.environ, "NO_COLOR", "1" if no_color else "")
    stream = Terminal()
    configure("info", "auto", stream)
    get_logger().info("worker_connected", slots=4)
    assert "worker_connected" in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) is not no_color


def test_the_format_json_works_on_a_terminal_and_text_elsewhere() -> None:
    """The given format takes precedence over the kind of stream."""
    terminal, pipe = Terminal(), io.StringIO()
    configure("info", "json", terminal)
    get_logger().info("worker_connected")
    configure("info", "console", pipe)
    get_logger().info("worker_connected")
    assert terminal.getvalue().startswith("{")
    assert not pipe.getvalue().startswith("{")
    assert "\x1b[" not in pipe.getvalue()


def test_events_below_the_level_are_not_made() -> None:
    """Each success has a debug event, which costs nothing at the default level."""
    stream = io.StringIO()
    configure("warning", "json", stream)
    log = get_logger()
    log.info("task_succeeded")
    log.warning("task_failed")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["task_failed"]


def test_warnings_of_libraries_become_events() -> None:
    """Warnings of asyncio and uvicorn become events; their messages below that level are left out."""
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("asyncio").error("Task %s was lost", "x")
    (event,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (event["event"], event["level"]) == ("library_logged", "error")
    assert (event["library"], event["message"]) == ("asyncio", "Task x was lost")


def test_a_closed_log_stream_does_not_end_the_master() -> None:
    """A closed pipe that received the logs is not an error of the master."""
    stream = io.StringIO()
    configure("info", "json", stream)
    stream.close()
    get_logger().info("worker_connected")


def test_a_json_line_is_valid_json_for_any_field() -> None:
    """NaN and Infinity exist in Python's JSON only; and Python does not format some numbers."""
    stream = io.StringIO()
    configure(stream=stream)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    structlog.get_logger().info(
        "odd", a=math.nan, b={"c": -math.inf}, d=10**5_000, e={(1, 2): 3}, f=deep, g=1.5, h=[b"x"], i="\ud800"
    )
    # A thread that another test has left behind may log at the same time.
    (line,) = [line for line in stream.getvalue().splitlines() if '"event": "odd"' in line]
    event = json.loads(line, parse_constant=pytest.fail)
    assert [event[name] for name in "adgi"] == ["nan", "a whole number of about 5,001 digits", 1.5, "\ud800"]
