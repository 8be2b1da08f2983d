"""Notices that the Python files below a folder have changed.

By looking at their times: a few thousand files cost some milliseconds a look, which needs no library and works on
every file system; only `distq up --reload` does it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PASSED_OVER = frozenset({"__pycache__", "node_modules"})


class Sources:
    """The Python files below a folder, as they were when they were looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._look()

    def changed(self) -> list[Path]:
        """Those that are new, gone or different since the last look."""
        before, self._seen = self._seen, self._look()
        names = before.keys() | self._seen.keys()
        return sorted(Path(name) for name in names if before.get(name) != self._seen.get(name))

    def _look(self) -> dict[str, tuple[int, int]]:
        return dict(_files(str(self._folder)))


def _files(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Path, time and size of every Python file, but for hidden folders and virtual environments."""
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and entry.name not in PASSED_OVER:
                        folders.append(entry.path)
                elif entry.name == "pyvenv.cfg":
                    return
                elif entry.name.endswith(".py") and not entry.name.startswith("."):
                    with suppress(OSError):  # it went away meanwhile, or is a link that leads nowhere
                        about = entry.stat()
                        yield entry.path, (about.st_mtime_ns, about.st_size)
    except OSError:
        return  # it went away meanwhile, or is not ours to read
    for path in folders:
        yield from _files(path)
