"""Copies all rows of one store into another one, so that masters can move there.

Both stores are led while they are copied, so that no master leads. A row that no master can load marks the destination
until the copy is complete; an interrupted copy continues where it ended, if no master has led the source meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.head import unpack
from distq.core.loading import UNFINISHED_COPY
from distq.core.plurals import counted
from distq.core.ports import FORGET, StoreError
from distq.core.states import STATE_NAMES
from distq.core.task_ids import id_text
from distq.storage import MEMORY, SQLITE, is_shared, open_store
from distq.storage.error_messages import mode_of
from distq.storage.reserve import MIB
from distq.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from distq.core.ports import Store

ROWS_MAX: Final = 1_000
"""Maximum rows of one commit."""
BYTES_MAX: Final = 16 * MIB
"""Maximum bytes of bodies in memory at a time, unless one body is larger."""
WAIT_S: Final = 6.0
"""Seconds that a store may wait for its lock or its database before the copy is refused: longer than the default lease
of a leader that was killed."""
POLL_S: Final = 0.05
"""Seconds between two looks at whether a store waits."""
OWN_NAME: Final = "distq store copy"
"""The address that this process gives as the leader of both stores: masters that stand by show it."""

Rows = dict[int, bytes]
Progress = Callable[[int, int], None]
"""Called after each commit with the number of rows that are done, and of all rows."""


class StorePlace(NamedTuple):
    """Where a store is."""

    url: str
    """A value of DISTQ_STORE without its secrets."""
    secrets: Mapping[str, str]
    password_file: str | None

    @property
    def path(self) -> Path | None:
        """The path of the store's file, None if it is a database."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None

    @property
    def identity(self) -> str:
        """A text that is the same for each way to write the place of a file."""
        return str(self.path.resolve()) if self.path is not None else self.url


class Copied(NamedTuple):
    """The counts of a copy."""

    tasks: dict[str, dict[str, int]]
    """Number of tasks by queue and state."""
    rows: int
    """Number of all rows: also those of schedules, limits, client sessions, cursors and parts of streams."""
    written: int
    """Number of rows that this run has written; an earlier run had written the others."""
    written_bytes: int
    """Bytes of the payloads and results that this run has written."""


class Mark(NamedTuple):
    """What the row of an unfinished copy says."""

    source: str
    epoch: int
    """The epoch in which the copying process led the source."""

    def head(self) -> bytes:
        """Return the row's head; its first byte is no version of a head, so that every release refuses to load it."""
        return b"\xff" + json.dumps(self._asdict()).encode()

    @classmethod
    def read(cls, head: bytes) -> Mark:
        """Return what a row says."""
        return cls(**json.loads(head[1:]))


def copy(source: StorePlace, destination: StorePlace, progress: Progress = lambda _done, _all: None) -> Copied:
    """Copy all rows of `source` into `destination`, which must be empty or the destination of an unfinished copy.

    Raises:
        StoreError: a master leads one of the stores or has its file open, the destination is in use, or a store cannot
            be read or written.
    """
    for place in (source, destination):
        if place.url == MEMORY:
            raise StoreError("A store in memory ends with its master: nothing can be copied from it or to it.")
    if source.identity == destination.identity:
        raise StoreError(f"{source.url} cannot be copied to itself: name another destination.")
    return asyncio.run(_copy(source, destination, progress))


async def _copy(source: StorePlace, destination: StorePlace, progress: Progress) -> Copied:
    await asyncio.to_thread(_check_source, source)
    from_store, to_store = open_store(source.url, 0.0, *source[1:]), open_store(destination.url, 0.0, *destination[1:])
    try:
        heads = await _follow(from_store, source)
        if UNFINISHED_COPY in heads:
            raise StoreError(f"{source.url} is itself an unfinished copy: complete that first.")
        tasks = _count(heads, source)
        if is_shared(destination.url):
            from distq.storage.postgresql.epochs import raise_epoch  # noqa: PLC0415 - it needs the database's driver

            await asyncio.to_thread(raise_epoch, *destination, from_store.epoch, WAIT_S)
        present = await _follow(to_store, destination)
        if isinstance(to_store, SqliteStore):
            await to_store.raise_epoch(from_store.epoch)
        unchanged = _continued(source, destination, from_store.epoch, present)
        await to_store.commit({UNFINISHED_COPY: (Mark(source.identity, from_store.epoch).head(), b"")})
        await _drop(to_store, [key for key in present if key not in heads and key != UNFINISHED_COPY])
        missing = [key for key in heads if not (unchanged and key in present)]
        written_bytes = await _write(from_store, to_store, heads, missing, progress)
        await to_store.commit({UNFINISHED_COPY: None})
    finally:
        await to_store.close()
        await from_store.close()
    return Copied(tasks, len(heads), len(missing), written_bytes)


def _check_source(source: StorePlace) -> None:
    """Raise StoreError if there is no store, which opening it would make."""
    if source.path is None:
        from distq.storage.postgresql.epochs import has_tables  # noqa: PLC0415 - it needs the database's driver

        if not has_tables(*source):
            raise StoreError(f"There is nothing to copy: {source.url} has no tables of distq.")
    elif not mode_of(source.path):
        raise StoreError(f"There is nothing to copy: there is no {source.path}.")


async def _follow(store: Store, place: StorePlace) -> Rows:
    """Lead the store, and return its heads. Raises StoreError if another process leads it or it does not answer."""
    rows: Rows = {}

    async def follow() -> None:
        async for heads in store.follow(OWN_NAME):
            if heads is FORGET:
                rows.clear()
            for key, head in heads:
                if head is None:
                    rows.pop(key, None)
                else:
                    rows[key] = head

    following = asyncio.create_task(follow())
    loop = asyncio.get_running_loop()
    waiting_since = loop.time()
    while not following.done():
        await asyncio.wait((following,), timeout=POLL_S)
        if not store.waiting:
            waiting_since = loop.time()
        elif loop.time() - waiting_since > WAIT_S:
            following.cancel()
            await asyncio.wait((following,))
            raise StoreError(
                f"{place.url} cannot be used: {store.waiting.rstrip('.')}. Stop all masters on it first, and repeat "
                "the command."
            )
    following.result()
    return rows


def _continued(source: StorePlace, destination: StorePlace, epoch: int, present: Rows) -> bool:
    """Whether the rows that are present are those of the source as it is now.

    Raises:
        StoreError: the destination is in use.
    """
    if not present:
        return False
    if UNFINISHED_COPY not in present:
        raise StoreError(
            f"{destination.url} has {counted(len(present), 'row')} already, and is no unfinished copy: name an empty "
            "store, such as a new file, or another schema or cluster of the database."
        )
    mark = Mark.read(present[UNFINISHED_COPY])
    return mark.source == source.identity and mark.epoch + 1 == epoch


async def _drop(store: Store, keys: list[int]) -> None:
    for at in range(0, len(keys), ROWS_MAX):
        await store.commit(dict.fromkeys(keys[at : at + ROWS_MAX]))


async def _write(source: Store, to: Store, heads: Rows, keys: list[int], progress: Progress) -> int:
    """Copy the rows of `keys`; returns the bytes of their bodies."""
    body_bytes_max = to.limits.body_bytes_max
    at = byte_count = 0
    while at < len(keys):
        bodies = await source.read(keys[at : at + ROWS_MAX], BYTES_MAX)
        batch = {}
        for key, body in zip(keys[at : at + len(bodies)], bodies, strict=True):
            if body is None:
                raise StoreError(f"{_name(key)} has no payload: the source is damaged. Run `distq store check` on it.")
            if len(body) > body_bytes_max:
                raise StoreError(
                    f"{_name(key)} has {len(body):,} bytes, and the destination takes at most {body_bytes_max:,}: wait "
                    "for its end or cancel it, or, if it has ended, until its result is dropped. Then repeat the "
                    "command."
                )
            batch[key] = (heads[key], body)
            byte_count += len(body)
        await to.commit(batch)
        at += len(bodies)
        progress(len(heads) - len(keys) + at, len(heads))
    return byte_count


def _name(key: int) -> str:
    return f"Task {id_text(key)}" if key >= 0 else f"Row {key}"


def _count(heads: Rows, source: StorePlace) -> dict[str, dict[str, int]]:
    """Return the number of tasks by queue and state. Raises StoreError if a later release wrote one of them."""
    tasks: dict[str, Counter[str]] = {}
    for key, head in heads.items():
        if key >= 0:
            try:
                known = unpack(head)
            except ValueError as exc:
                raise StoreError(
                    f"{source.url} has {exc}: use the release of distq that wrote it, or check the source for damage."
                ) from None
            tasks.setdefault(known.queue, Counter())[STATE_NAMES[known.state]] += 1
    return {queue: dict(states) for queue, states in sorted(tasks.items())}
