"""Draws a task's life from the table that rules it, into the page that explains it: `python -m tools.diagram`."""

from pathlib import Path

from distq.core.moves import EVENT_NAMES, MOVES
from distq.core.task import GONE, READY, STATE_NAMES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "delivery.md"
BEGIN = "<!-- made by `python -m tools.diagram` -->\n"
END = "<!-- end -->\n"


def diagram() -> str:
    """The table as a diagram in Mermaid's words; events between the same states share an arrow."""
    arrows: dict[tuple[int, int], list[str]] = {}
    for (old, event), new in MOVES.items():
        arrows.setdefault((old, new), []).append(EVENT_NAMES[event])
    lines = [f"    [*] --> {STATE_NAMES[READY]}: submit"]
    for (old, new), events in arrows.items():
        there = "[*]" if new == GONE else STATE_NAMES[new]
        lines.append(f"    {STATE_NAMES[old]} --> {there}: {', '.join(events)}")
    return "\n".join(("```mermaid", "stateDiagram-v2", *lines, "```")) + "\n"


def drawn(page: str) -> str:
    """The page with the present diagram between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{diagram()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
