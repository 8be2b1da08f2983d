"""Items that are held: a test sees who runs one, and says when it may end."""

from pathlib import Path

from tests.e2e.cluster import eventually


def running(folder: Path, count: int = 1) -> list[int]:
    """Wait until so many processes hold an item; their ids."""
    eventually(lambda: len(holders(folder)) >= count, f"{count} tasks that run")
    return holders(folder)


def holders(folder: Path) -> list[int]:
    """The processes that have begun an item in this folder."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


def go(folder: Path) -> None:
    """Let everything that is held end."""
    (folder / "go").touch()
