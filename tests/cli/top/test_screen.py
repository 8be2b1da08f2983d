"""The screens of `distq top`, compared as text; the size, the encoding and the names of peers vary."""

import time
from collections.abc import Iterator

import pytest
from rich.cells import cell_len
from tests.cli.top.scenes import AT, page, shown

from distq.cli.top.rates import ASCII_BLOCKS, BLOCKS
from distq.cli.top.screen import HELP, blocks_for, draw
from distq.cli.top.state import VIEWS, State

QUEUES = """\
distq top  127.0.0.1:9000  1 worker, 2 of 4 slots busy, 2 queues        08:00:02
1,234 ready   0 held   7 delayed   2 running   1 dead
submitted    50/s         █   ended    50/s         █   dead     0/s         ▁
 1 queues   2 workers   3 running   4 failures                       sort: ready
queue              ready   running  delayed     dead   in/s ended/s last minute
mail               1,200         2        7        1      0       0            ▁
bulk�[2J (pause       34         2        7        1      -       -
"""
FAILURES = """\
 1 queues   2 workers   3 running   4 failures                      sort: newest
died           task         name               queue      cause
01-15 08:00:00 1-2a         …y_long_newsletter mail       ConnectionError: no ro
"""
RUNNING = """\
 1 queues   2 workers   3 running   4 failures                     sort: longest
task         name                    queue          for try  done executor
1-2a         …a_very_long_newsletter mail           5 s   1   50% w1/2
"""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show instants in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def screen(state: State, width: int = 80, height: int = 24, blocks: str = BLOCKS) -> list[str]:
    """Return the lines of a screen as text."""
    state.resize(height)
    return [line.plain.rstrip() for line in draw(state, width, height, "127.0.0.1:9000", blocks)]


def test_the_first_screen_has_totals_queues_and_keys() -> None:
    """The rates come with the second page; a paused queue is marked; a name cannot control the terminal."""
    state = shown()
    state.receive(page(state, at=AT + 2.0, submitted=200, completed=190))
    lines = screen(state)
    assert lines[:6] == QUEUES.splitlines()[:6]
    assert lines[6].startswith("bulk�[2J (paus ")
    assert lines[-1] == "1-4 view  s sort  / filter  Enter its running tasks  ? keys  q quit"
    assert len(lines) == 24
    assert lines[7:-1] == [""] * 16


@pytest.mark.parametrize(("view", "expected"), [("failures", FAILURES), ("running", RUNNING)])
def test_tasks_show_the_end_of_their_names(view: str, expected: str) -> None:
    """The function says more than its module."""
    assert screen(shown(view))[3:6] == expected.splitlines()


@pytest.mark.parametrize("view", ["queues", "workers", "running", "failures"])
@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 10), (20, 5), (1, 1)])
def test_every_screen_fits_its_size(view: str, size: tuple[int, int]) -> None:
    """The terminal crops lines that are too long on a very narrow screen; there are never too many."""
    state = shown(view)
    state.page["rows"] *= 100  # type: ignore[index]
    lines = screen(state, *size)
    assert len(lines) == size[1]
    if size[0] >= 80:
        assert max(map(cell_len, lines)) <= size[0]


@pytest.mark.parametrize("view", VIEWS)
def test_the_keys_of_each_view_fit_eighty_columns(view: str) -> None:
    """The last key is `q quit`, and no line of the help is cut."""
    state = shown(view)
    assert screen(state)[-1].endswith("? keys  q quit")
    state.helps = True
    lines = screen(state)
    for line in HELP:
        assert any(line in shown_line for shown_line in lines), line


def test_an_empty_view_says_so() -> None:
    """With a filter, the sentence has it."""
    state = shown("failures")
    assert state.page is not None
    state.page["rows"].clear()
    assert screen(state)[5] == "There are no dead letters."
    state.filters["failures"] = "x"
    assert screen(state)[5] == "There are no dead letters that match 'x'."


def test_the_place_in_a_long_list_is_shown() -> None:
    """The master has sent one page of it."""
    state = shown()
    state.receive(page(state, matched=10_000))
    assert screen(state)[-2].strip() == "1 to 2 of 10,000"


def test_questions_filters_help_and_a_lost_master_have_the_message_line() -> None:
    """The last line has the keys that apply then."""
    state = shown("running")
    state.press("c")
    assert screen(state)[-2:] == [
        "Cancel task 1-2a? A running one is stopped. [y/N]",
        "y yes  any other key no",
    ]
    state.press("n")
    state.press("/")
    state.press("m")
    assert screen(state)[-2:] == ["Filter: m_", "Enter apply  Esc leave"]
    state.press("escape")
    state.lost = "The master cannot be reached."
    assert screen(state)[-2] == "Connecting again. The master cannot be reached."
    state.press("?")
    assert screen(state)[4] == "Keys"


def test_sparklines_use_characters_that_the_terminal_has() -> None:
    """An ASCII terminal gets ASCII."""
    assert blocks_for("utf-8") == BLOCKS
    assert blocks_for("ascii") == blocks_for("no such encoding") == ASCII_BLOCKS
