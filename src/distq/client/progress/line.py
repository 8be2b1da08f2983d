"""The text of one bar: as a line that fits a terminal, as a plain sentence, and as HTML for a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from distq.client.progress.tally import CallCounts

BAR_CHARS_MAX: Final = 40
BAR_CHARS_MIN: Final = 8
"""Characters of a bar; a terminal without room for the shorter one gets none."""
LABEL_CHARS_MAX: Final = 30
TEXT_CHARS_MAX: Final = 40
SEPARATOR: Final = " · "


class BarState(NamedTuple):
    """A bar at one instant."""

    label: str
    counts: CallCounts
    elapsed_s: float
    is_over: bool
    """Whether the bar is drawn for the last time."""


class Line(NamedTuple):
    """The parts of a line, from left to right."""

    label: str
    filled: str
    """The part of the bar that is done."""
    rest: str
    numbers: str
    failed: str
    further: str
    """Times, and the text of a task."""


def line_of(state: BarState, width: int, *, ascii_only: bool = False) -> Line:
    """The line of a bar, at most `width` characters; where there is no room, the least important parts are left out."""
    separator = " - " if ascii_only else SEPARATOR
    label = plain(state.label, LABEL_CHARS_MAX, ascii_only=ascii_only)
    label = f"{label} " if label else ""
    numbers = _numbers(state.counts)
    ends = [
        f"{count:,} {word}"
        for count, word in ((state.counts.failed, "failed"), (state.counts.cancelled, "cancelled"))
        if count
    ]
    failed = "".join(separator + one for one in ends)
    further = [separator + one for one in _further(state, ascii_only=ascii_only)]
    room = width - len(numbers) - len(failed)
    while further and len(label) + BAR_CHARS_MIN + 1 + sum(map(len, further)) > room:
        further.pop()
    bar_chars = min(room - len(label) - 1 - sum(map(len, further)), BAR_CHARS_MAX)
    if bar_chars < BAR_CHARS_MIN:
        bar_chars = 0
        label = label if len(label) <= room else ""
    filled, rest = _bar(state, bar_chars, ascii_only=ascii_only)
    if not label and not filled and not rest and len(numbers) + len(failed) > width:
        numbers, failed = numbers[:width], failed[: max(width - len(numbers), 0)]
    return Line(label, filled, f"{rest} " if bar_chars else rest, numbers, failed, "".join(further))


def sentence_of(state: BarState) -> str:
    """The bar as a plain line, for a file or a pipe."""
    parts = [_numbers(state.counts)]
    parts += [f"{state.counts.failed:,} failed"] if state.counts.failed else []
    parts += [f"{state.counts.cancelled:,} cancelled"] if state.counts.cancelled else []
    parts += _further(state, ascii_only=True)
    label = plain(state.label, LABEL_CHARS_MAX, ascii_only=False)
    return f"{label}: {', '.join(parts)}" if label else ", ".join(parts)


def html_of(state: BarState) -> str:
    """The bar for a notebook."""
    counts = state.counts
    fraction = 1.0 if state.is_over and counts.total is None else counts.fraction
    value = "" if fraction is None else f' value="{fraction:.4f}"'
    label = html.escape(plain(state.label, LABEL_CHARS_MAX, ascii_only=False))
    failed = f' · <span style="color: #c62828">{counts.failed:,} failed</span>' if counts.failed else ""
    cancelled = f" · {counts.cancelled:,} cancelled" if counts.cancelled else ""
    further = "".join(f" · {html.escape(one)}" for one in _further(state, ascii_only=False))
    bar = f'<progress max="1"{value} style="width: 20em; vertical-align: middle"></progress>'
    return f"<div><code>{label}</code> {bar} {_numbers(counts)}{failed}{cancelled}{further}</div>"


def plain(text: str, chars_max: int, *, ascii_only: bool) -> str:
    """A text on one line without control characters, at most `chars_max` characters."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    if ascii_only:
        shown = shown.encode("ascii", "replace").decode()
    return shown if len(shown) <= chars_max else f"{shown[: chars_max - 3]}..."


def span_text(seconds: float) -> str:
    """A duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _numbers(counts: CallCounts) -> str:
    return f"{counts.ended:,} done" if counts.total is None else f"{counts.ended:,}/{counts.total:,}"


def _further(state: BarState, *, ascii_only: bool) -> list[str]:
    """The time that has passed, the time that is left, and a task's text, the most important first."""
    found = [span_text(state.elapsed_s)]
    fraction = state.counts.fraction
    if fraction and not state.is_over:
        left_s = state.elapsed_s * (1 - fraction) / fraction
        found.append(f"{span_text(left_s)} left")
    if state.counts.text and not state.is_over:
        found.append(plain(state.counts.text, TEXT_CHARS_MAX, ascii_only=ascii_only))
    return found


def _bar(state: BarState, chars: int, *, ascii_only: bool) -> tuple[str, str]:
    """The filled part and the rest; a bar of unknown length has a mark that moves."""
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    fraction = state.counts.fraction
    if fraction is None and state.is_over:
        fraction = 1.0
    if fraction is None:
        at = int(state.elapsed_s * 4) % max(chars, 1)
        return "", (empty * at + full + empty * (chars - at - 1) if chars else "")
    filled = int(chars * fraction)
    return full * filled, empty * (chars - filled)
