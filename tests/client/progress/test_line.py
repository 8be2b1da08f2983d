"""Tests of the text of bars: every terminal has room for it, and nothing in it is interpreted."""

import pytest

from distq.client.progress.line import BarState, html_of, line_of, plain, sentence_of, span_text
from distq.client.progress.tally import CallCounts

HALF = BarState("resize", CallCounts(50, 2, 1, 100, text="page 12 of many pages"), 65.0, is_over=False)


def text_of(state: BarState, width: int, *, ascii_only: bool = False) -> str:
    """Return the line as one text."""
    return "".join(line_of(state, width, ascii_only=ascii_only))


def test_a_wide_terminal_shows_everything() -> None:
    """Label, bar, numbers, failures, times, and what a task reports."""
    assert text_of(HALF, 140) == (
        f"resize {'━' * 20}{'─' * 20} 50/100 · 2 failed · 1 cancelled · 1:05 · 1:05 left · page 12 of many pages"
    )


def test_a_narrow_terminal_shows_the_most_important_parts() -> None:
    """The numbers and the failures stay last."""
    assert text_of(HALF, 60) == f"resize {'━' * 7}{'─' * 7} 50/100 · 2 failed · 1 cancelled · 1:05"
    assert text_of(HALF, 40) == "resize 50/100 · 2 failed · 1 cancelled"
    assert text_of(HALF, 34) == "50/100 · 2 failed · 1 cancelled"
    assert text_of(HALF, 8) == "50/100 ·"


@pytest.mark.parametrize("total", [None, 0, 100])
@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_longer_than_its_terminal(total: int | None, *, is_over: bool, ascii_only: bool) -> None:
    """A longer line would wrap, and the next drawing would begin one line too low."""
    for ended in (0, 33, 100):
        state = BarState(
            "a label " * 9, CallCounts(min(ended, total or ended), 3, 0, total, 0.5, "x" * 99), 1e5, is_over
        )
        for width in range(1, 200):
            line = text_of(state, width, ascii_only=ascii_only)
            assert len(line) <= width
            assert line.isascii() or not ascii_only


def test_a_bar_of_unknown_length_counts_and_moves() -> None:
    """Its end shows a full bar; a time that is left is not known."""
    at = [text_of(BarState("", CallCounts(7, 0, 0, None), second, is_over=False), 60) for second in (0.0, 1.0)]
    assert at[0] == f"━{'─' * 39} 7 done · 0:00"
    assert at[1] == f"{'─' * 4}━{'─' * 35} 7 done · 0:01"
    assert text_of(BarState("", CallCounts(7, 0, 0, 7), 2.0, is_over=True), 60) == f"{'━' * 40} 7/7 · 0:02"
    assert html_of(BarState("", CallCounts(7, 0, 0, None), 0.0, is_over=False)).count("value=") == 0


def test_running_tasks_move_the_bar_by_what_they_report() -> None:
    """Half of the only task is half of the bar."""
    state = BarState("", CallCounts(0, 0, 0, 1, 0.5, "page 12"), 10.0, is_over=False)
    assert text_of(state, 100) == f"{'━' * 20}{'─' * 20} 0/1 · 0:10 · 0:10 left · page 12"


def test_a_plain_line_has_the_same_facts() -> None:
    """It goes into a log."""
    assert sentence_of(HALF) == "resize: 50/100, 2 failed, 1 cancelled, 1:05, 1:05 left, page 12 of many pages"
    assert sentence_of(BarState("", CallCounts(1, 0, 0, 1), 3.0, is_over=True)) == "1/1, 0:03"


def test_html_is_escaped() -> None:
    """Names of tasks and their reports are texts of programs."""
    state = BarState("<script>", CallCounts(1, 1, 1, 4, text="<b>&"), 3.0, is_over=False)
    shown = html_of(state)
    assert "<code>&lt;script&gt;</code>" in shown
    assert "&lt;b&gt;&amp;" in shown
    assert 'value="0.2500"' in shown
    assert "1 failed</span> · 1 cancelled" in shown


def test_control_characters_never_reach_a_terminal() -> None:
    """A label or a report could move the cursor or set colours."""
    assert plain("a\x1b[31m\nb\tc", 30, ascii_only=False) == "a [31m b c"
    assert plain("größer", 30, ascii_only=True) == "gr??er"
    assert plain("x" * 40, 30, ascii_only=False) == "x" * 27 + "..."


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (61, "1:01"), (3600, "1:00:00"), (360_000, "100:00:00")])
def test_durations_are_short(seconds: float, text: str) -> None:
    """Hours are shown where there are any."""
    assert span_text(seconds) == text
