"""Tables on terminals of any width, and in pipes."""

import pytest

from distq.cli.tables import print_table

ROWS = [("a-queue-with-a-long-name", "12"), ("größe", "3")]


@pytest.mark.parametrize("columns", ["1", "7", "40", "200", "0", "-5", "wide"])
def test_a_terminal_of_any_width_shows_every_cell(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one that is too narrow the terminal wraps the lines; before, it showed blanks."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(["queue", "ready"], ROWS)
    shown = capsys.readouterr().out.replace(" ", "").replace("\n", "")
    assert all(cell in shown for row in ROWS for cell in row)
