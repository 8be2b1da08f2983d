"""Inspects a queue file: counts its tasks, checks it, and copies the readable tasks of a damaged one.

No master may have the file open: a second connection to it could trigger SQLite's WAL-reset bug.
"""

import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from distq.core.head import unpack
from distq.core.loading import UNFINISHED_COPY, is_readable
from distq.core.plurals import counted
from distq.core.ports import StoreError
from distq.core.states import STATE_NAMES
from distq.storage import private, schema
from distq.storage.error_messages import check_place, explain, foreign_file, mode_of, too_new
from distq.storage.queue_file import KEY_MAX, KEY_MIN, size_of
from distq.storage.sqlite_connection import BUSY, CORRUPT, SqliteConnection, SqliteError

RUN: Final = 1_000
PROBLEMS_MAX: Final = 20
PROBES_MAX: Final = 20_000
"""Maximum failed reads of one table in the search for readable rows around damaged pages."""


class Report(NamedTuple):
    """The contents of a queue file."""

    bytes: int
    version: int
    epoch: int
    tasks: dict[str, dict[str, int]]
    """Number of tasks by queue and state."""
    problems: list[str]
    """A description of each fault; empty if the file has none."""
    sqlite_version: str


class Salvaged(NamedTuple):
    """The counts of a copy of a damaged file."""

    copied: int
    without_payload: int
    """Tasks of which only the head could be read; they are not copied."""
    without_head: int
    """Payloads whose head could not be read, or is none that a master could load."""
    gave_up: bool
    """Whether the search ended after PROBES_MAX failed reads of a table, before it had tried every key."""


def inspect(path: Path, *, checks_every_page: bool) -> Report:
    """Return the contents of a file that no master has open; `checks_every_page` reads every page.

    Raises:
        StoreError: the file does not exist, cannot be read, belongs to another program, or is open in a master.
    """
    link = _opened(path)
    try:
        problems = _integrity(link) if checks_every_page else []
        tasks: dict[str, Counter[str]] = {}
        for key, head in _rows(link, "heads", problems):
            if key == UNFINISHED_COPY:
                problems.append("an interrupted `distq store copy` has not copied all rows to this file")
                continue
            try:
                known = unpack(head)
            except ValueError as error:
                problems.append(str(error))
                continue
            tasks.setdefault(known.queue, Counter())[STATE_NAMES[known.state]] += 1
        if checks_every_page and not problems:
            ((missing_count,),) = link.run(
                "SELECT count(*) FROM heads LEFT JOIN bodies USING (key) WHERE key >= 0 AND body IS NULL"
            )
            problems += [f"{counted(missing_count, 'task')} without a payload"] if missing_count else []
        ((epoch,),) = link.run("SELECT value FROM counters WHERE name = 'epoch'")
        version = schema.version_of(link)
        tasks_by_state = {queue: dict(states) for queue, states in sorted(tasks.items())}
        return Report(size_of(path), version, int(epoch), tasks_by_state, problems[:PROBLEMS_MAX], link.version)
    except SqliteError as error:
        raise StoreError(explain(path, error)) from error
    finally:
        link.close()


def salvage(path: Path, to: Path) -> Salvaged:
    """Copy the readable tasks of a damaged file into a new one, which a master can open.

    Raises:
        StoreError: the new file exists already or cannot be written, or the damaged file cannot be read at all.
    """
    if mode_of(to):
        raise StoreError(f"{to} exists already: name a new file.")
    check_place(to)
    link = _opened(path)
    try:
        stored, gave_up = _readable(link, "heads", "head")
        heads = {row_key: head for row_key, head in stored.items() if is_readable(row_key, head)}
        bodies, gave_up_again = _readable(link, "bodies", "body")
        try:
            ((epoch,),) = link.run("SELECT value FROM counters WHERE name = 'epoch'")
        except SqliteError:
            epoch = max((row_key >> 40 for row_key in heads), default=0)
    finally:
        link.close()
    whole = heads.keys() & bodies.keys()
    private.create(to)
    new = SqliteConnection(to)
    try:
        schema.prepare(new, empty=True)
        new.run("BEGIN IMMEDIATE")
        new.run("UPDATE counters SET value = ? WHERE name = 'epoch'", (epoch,))
        for row_key in sorted(whole):
            new.run("INSERT INTO heads VALUES (?, ?)", (row_key, heads[row_key]))
            new.run("INSERT INTO bodies VALUES (?, ?)", (row_key, bodies[row_key]))
        new.run("COMMIT")
    except SqliteError as error:
        raise StoreError(explain(to, error)) from error
    finally:
        new.close()
    tasks = [row_key for row_key in whole if row_key >= 0]
    return Salvaged(
        len(tasks),
        sum(1 for row_key in heads if row_key >= 0 and row_key not in bodies),
        sum(1 for row_key in bodies if row_key >= 0 and row_key not in heads),
        gave_up or gave_up_again,
    )


def _opened(path: Path) -> SqliteConnection:
    """Open the file, locked for this process alone."""
    check_place(path)
    if not stat.S_ISREG(mode_of(path)):
        raise StoreError(f"There is no {path}.")
    if not size_of(path):
        raise StoreError(f"{path} is empty.")
    try:
        link = SqliteConnection(path)
    except SqliteError as error:
        raise StoreError(explain(path, error)) from error
    try:
        for sql in schema.LOCK:
            link.run(sql)
        link.run("BEGIN EXCLUSIVE")
        version = schema.version_of(link)
        link.run("COMMIT")
    except schema.ForeignFile:
        link.close()
        raise foreign_file(path) from None
    except SqliteError as error:
        link.close()
        if error.primary == BUSY:
            raise StoreError(
                f"{path} is open in a master: stop it first, or look at a backup (`distq store backup`)."
            ) from None
        raise StoreError(explain(path, error)) from error
    if not version or version > schema.VERSION:
        link.close()
        raise too_new(path, version, schema.VERSION) if version else StoreError(f"{path} is empty.")
    return link


def _integrity(link: SqliteConnection) -> list[str]:
    try:
        found = [str(row[0]) for row in link.run(f"PRAGMA integrity_check({PROBLEMS_MAX})")]
    except SqliteError as error:
        return [str(error)]
    return [] if found == ["ok"] else [line for text in found for line in text.splitlines()]


def _rows(link: SqliteConnection, table: str, problems: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield the tasks' rows of a table until one cannot be read, which adds an entry to `problems`."""
    first = 0
    while first <= KEY_MAX:
        try:
            rows = link.run(f"SELECT * FROM {table} WHERE key >= ? ORDER BY key LIMIT ?", (first, RUN))  # noqa: S608
        except SqliteError as error:
            problems.append(f"{table}: {error}")
            return
        if not rows:
            return
        yield from rows
        first = rows[-1][0] + 1


def _readable(link: SqliteConnection, table: str, column: str) -> tuple[dict[int, bytes], bool]:
    """Return the readable rows of a table, found by halving each unreadable range, and whether ranges were left out."""
    found: dict[int, bytes] = {}
    probes = 0
    ranges = [(KEY_MIN, KEY_MAX)]
    sql = f"SELECT key, {column} FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?"  # noqa: S608 - our names
    while ranges and probes < PROBES_MAX:
        low, high = ranges.pop()
        try:
            rows = link.run(sql, (low, high, RUN))
        except SqliteError as error:
            if error.primary != CORRUPT:
                raise
            probes += 1
            if low < high:
                middle = (low + high) >> 1
                ranges += [(middle + 1, high), (low, middle)]
            continue
        found.update(rows)
        if len(rows) == RUN and rows[-1][0] < high:
            ranges.append((rows[-1][0] + 1, high))
    return found, bool(ranges)
