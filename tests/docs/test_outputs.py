"""The outputs on the pages are those of the commands: `make outputs` writes them."""

from pathlib import Path

import pytest
from tests.docs.blocks import BLOCKS
from tests.ports import free_port
from tests.tidy.tree import ROOT
from tools.outputs import PAGES, alike, rewritten, settings

BY_HAND = {"docs/how-to/outbox.md": "A row in doubt is a day old; tests/contrib/outbox/test_relay.py makes one."}
"""Pages with an output that `make outputs` does not write, each with the reason."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", PAGES)
def test_every_output_of_a_page_is_that_of_its_command(name: str, tmp_path: Path) -> None:
    """The commands run again, as a reader would type them; numbers, times and widths may differ.

    On a busy machine a program may be later than on the page, so up to three runs are made.
    """
    page = (ROOT / name).read_text(encoding="utf-8")
    before, depends_on_machine = PAGES[name]
    shown = alike(page, depends_on_machine=depends_on_machine)
    again = ""
    for folder in (tmp_path / "first", tmp_path / "second", tmp_path / "third"):
        if again != shown:
            folder.mkdir()
            text = rewritten(page, folder, settings(free_port()), before)
            again = alike(text, depends_on_machine=depends_on_machine)
    assert again == shown


def test_every_output_of_a_command_is_on_a_page_that_is_rewritten() -> None:
    """`make outputs` writes each line below a command; a page that it leaves alone has a reason."""
    shown = {
        str(block.page)
        for block in BLOCKS
        if block.language == "console"
        and any(not line.startswith("$ ") for line in block.code.replace("\\\n", "").splitlines() if line.strip())
    }
    assert shown == PAGES.keys() | BY_HAND.keys()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("up 2 s, 3 of 4 slots", "up 812 ms, 1 of 2 slots", True),
        ("vm-572   default       2", "vm-9 default 4", True),
        ("2026-11-28 17:13:53.033  lost", "2027-01-01 01:02:03 lost", True),
        ("succeeded", "failed", False),
        ("1-3  shop:report", "1-3  shop:price", False),
    ],
)
def test_two_outputs_are_alike_when_only_numbers_and_widths_differ(first: str, second: str, same: bool) -> None:
    """Words always count."""
    assert (alike(first) == alike(second)) is same
