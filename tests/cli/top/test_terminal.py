"""The keys that terminals send."""

import pytest

from distq.cli.top.terminal import split_keys


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("jk\r\t\x7f", ["j", "k", "enter", "tab", "backspace"]),
        ("\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        ("\x1b", ["escape"]),
        ("\x1bq", ["escape", "q"]),
        ("\x1b[1;5Cq", ["q"]),  # Ctrl and an arrow has no meaning here
        ("é漢", ["é", "漢"]),
    ],
)
def test_the_bytes_of_a_terminal_are_split_into_keys(sent: str, keys: list[str]) -> None:
    """Fast typing, or a slow line, sends several keys at the same time."""
    assert split_keys(sent) == keys
