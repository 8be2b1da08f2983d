"""The control group's report on memory: bytes used, limit, and how many processes the kernel has killed for memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNLIMITED = 1 << 60
"""Version 1 writes a huge number where there is no limit."""


class Memory(NamedTuple):
    """Bytes that the group uses and may use; None where the system does not report them."""

    used_bytes: int | None
    limit_bytes: int | None


class Cgroup:
    """The control group of this process, version 2 or 1; each call reads the files again, because limits change."""

    def __init__(self, root: Path = CGROUP_ROOT, proc: Path = PROC) -> None:
        self._folders = tuple(str(folder) for folder in _folders(root, proc) if folder.is_dir())

    @property
    def memory(self) -> Memory:
        """Return the memory that the group uses now, and its limit."""
        for folder in self._folders:
            used = _number(f"{folder}/memory.current") or _number(f"{folder}/memory.usage_in_bytes")
            if used is not None:
                limit = _number(f"{folder}/memory.max") or _number(f"{folder}/memory.limit_in_bytes")
                return Memory(used, None if limit is None or limit >= UNLIMITED else limit)
        return Memory(None, None)

    @property
    def cached_bytes(self) -> int:
        """Return how many of the used bytes are cached files, which the kernel can free; 0 if it reports none."""
        for folder in self._folders:
            if Path(f"{folder}/memory.stat").exists():
                return _cached(f"{folder}/memory.stat")
        return 0

    @property
    def out_of_memory_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for memory; 0 if it does not report that."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                for line in _text(f"{folder}/{name}").splitlines():
                    field, _, count = line.partition(" ")
                    if field == "oom_kill":
                        return int(count)
        return 0


def _folders(root: Path, proc: Path) -> Iterable[Path]:
    """Where the group's files may be, the most exact place first: inside a container it is the root."""
    for line in _text(str(proc / "self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/")
        elif not controllers:
            yield root / path.lstrip("/")
    yield root / "memory"
    yield root


def _cached(path: str) -> int:
    """Bytes of files in memory; version 1 counts those of groups below under other names."""
    lines = (line.partition(" ") for line in _text(path).splitlines())
    counts = {field: int(count) for field, _, count in lines if field.endswith("active_file")}
    total = [counts[field] for field in ("total_active_file", "total_inactive_file") if field in counts]
    return sum(total) if total else counts.get("active_file", 0) + counts.get("inactive_file", 0)


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - read several times a second, and Path costs more
            return file.read()
    except (OSError, ValueError):
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None
