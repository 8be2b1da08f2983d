"""Finds the process that listens at a TCP port, for an error that says who must leave it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LISTENS: Final = "0A"
"""The state of a listening socket in /proc/net/tcp."""
COMMAND_CHARS_MAX: Final = 200
"""Maximum characters of the process's command line."""


def held_by(port: int, proc: Path = Path("/proc")) -> str:
    """Return a sentence about the process that listens at a port of this machine.

    It is '' where the system does not say: the process belongs to another user or container, or there is no /proc.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    if not sockets:
        return ""
    for entry in proc.iterdir():
        if entry.name.isdigit() and _has_one(entry, sockets):
            me = " (this one)" if entry.name == str(os.getpid()) else ""
            return f"Process {entry.name}{me} listens there: {_command(entry)}."
    return ""


def _listening(port: int, proc: Path) -> Iterator[str]:
    """Yield the inodes of the sockets that listen at a port."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if columns[3] == LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _has_one(process: Path, sockets: set[str]) -> bool:
    """Whether a process has one of the sockets open; False if this user may not see that."""
    try:
        entries = list((process / "fd").iterdir())
    except OSError:
        return False
    for entry in entries:
        with suppress(OSError):  # the process has just closed this one
            if str(entry.readlink()) in sockets:
                return True
    return False


def _command(process: Path) -> str:
    """Return the beginning of a process's command line."""
    try:
        columns = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "it has just ended"
    text = b" ".join(columns).decode(errors="replace")
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= COMMAND_CHARS_MAX else f"{shown[:COMMAND_CHARS_MAX]}…"
