"""Backups through the running master: a consistent copy beside the store, sent to the command in pieces.

Only the master may open the store's file, so the master itself makes the copy between two commits; commits wait
meanwhile. The copy belongs to the connection that requested it and is deleted when that connection ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distq.core.errors import DistqError
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import refused, returned

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from distq.core.ports import Store
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

PIECE_BYTES: Final = 4 << 20
"""Maximum bytes of the copy in one reply, to limit memory."""


class BackupCopy:
    """The copy that one connection has requested; `path` is None until the copy is complete."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.gone = False

    def drop(self) -> None:
        """Delete the copy: its connection has ended or requests a new one."""
        self.gone = True
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None


_running: set[asyncio.Task[None]] = set()
"""The running tasks of the event loop, kept so that none is garbage-collected before its end."""


class BackupBegin(CallRequest):
    """`backup_begin`: makes the copy; the reply has its size in bytes."""

    __slots__ = ()

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        copy = copy_of(self.connection)
        copy.drop()
        copy.gone = False
        _start(_begin(self.connection, copy, cycle.store))


class BackupRead(CallRequest):
    """`backup_read`: replies with the next bytes of the copy, from `at` on."""

    __slots__ = ("at",)

    def __init__(self, connection: ServerConnection, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.at = asked.get("at")
        if type(self.at) is not int or self.at < 0:
            raise BadCall("backup_read takes the number of the first byte as `at`.")

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        path = copy_of(self.connection).path
        if path is None:
            self.connection.reply(refused("There is no copy: call backup_begin first."))
        else:
            assert type(self.at) is int
            _start(_read(self.connection, path, self.at))


def copy_of(connection: ServerConnection) -> BackupCopy:
    """Return the copy of a connection; raises BadCall if the connection is not a command's."""
    copy = getattr(connection.state, "copy", None)
    if not isinstance(copy, BackupCopy):
        raise BadCall("Backups are for commands: call hello() with role cli first.")
    return copy


def _start(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _begin(connection: ServerConnection, copy: BackupCopy, store: Store) -> None:
    try:
        path = await store.copy()
    except DistqError as exc:
        connection.reply(refused(f"{exc} {exc.hint}".rstrip()))
        return
    copy.path = path
    if copy.gone:
        copy.drop()
    else:
        connection.reply(returned({"bytes": path.stat().st_size}))


async def _read(connection: ServerConnection, path: Path, at: int) -> None:
    try:
        connection.reply(returned(await asyncio.to_thread(_piece, path, at)))
    except OSError as exc:
        connection.reply(refused(f"The copy cannot be read: {exc.strerror}."))


def _piece(path: Path, at: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(PIECE_BYTES)
