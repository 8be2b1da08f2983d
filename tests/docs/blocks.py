"""The code blocks of every page; `python -m tests.docs.blocks` lists them by language."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from tests.tidy.tree import files, text

PAGES: Final = [path for path in files() if path.suffix == ".md"]
SHELL: Final = ("sh", "bash", "console")
FENCE: Final = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE: Final = re.compile(r"\A# ([\w/]+\.py)\n")


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    language: str
    code: str
    line: int
    """The number of the line of its fence."""

    @property
    def first(self) -> str:
        """Its first line that is not empty."""
        return self.code.strip().splitlines()[0]

    @property
    def file(self) -> str | None:
        """The name of the file that a Python block names in its first line."""
        found = FILE.match(self.code) if self.language == "python" else None
        return found[1] if found else None

    @property
    def commands(self) -> str:
        """What a reader types: in a console block, the lines after `$`."""
        if self.language != "console":
            return self.code
        return "".join(f"{line}\n" for line in re.findall(r"^\$ (.+(?:\\\n.+)*)$", self.code, re.MULTILINE))


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    content = text(page)
    return [
        Block(
            page,
            found[2],
            re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE),
            content.count("\n", 0, found.start()) + 1,
        )
        for found in FENCE.finditer(content)
    ]


BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]


def main() -> None:
    """Print a line for each block."""
    for block in sorted(BLOCKS, key=lambda block: block.language):
        print(f"{block.language or 'none':10} {block.page}:{block.line}  {block.first}")


if __name__ == "__main__":
    main()
