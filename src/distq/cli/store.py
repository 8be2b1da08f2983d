"""`distq store`: backs up, copies, inspects, checks and salvages a store."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from distq.cli.ask import PATIENCE_S, master
from distq.cli.environment import settings_of_command
from distq.cli.groups import group
from distq.cli.options import json_object
from distq.cli.text import duration, printable
from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.core.ports import StoreError
from distq.protocol.methods import ADMIN, BROKER
from distq.settings import Role

if TYPE_CHECKING:
    from distq.storage.copying import StorePlace

COPY_S: Final = 3600.0
"""Maximum seconds in which the master copies a very large file."""
STANDARD_OUTPUT: Final = "-"
FILE_HELP: Final = "FILE is the file of DISTQ_STORE by default."
URL_HELP: Final = (
    "FROM and TO are written as DISTQ_STORE is. The password of a database is read from DISTQ_STORE_PASSWORD_FILE or "
    ".pgpass, so that no list of processes shows it."
)
PROGRESS_S: Final = 5.0
"""Seconds between two lines that show the progress of a copy."""


class Damaged(DistqError):
    """The file is damaged."""

    code = "STORE_DAMAGED"
    hint = "Restore a backup, or copy its readable part with `distq store salvage`."
    exit_code = 4


@group("store")
def command() -> None:
    """Back up, copy, inspect, check or salvage the store of all tasks."""


@command.command("backup")
@click.argument("to", metavar="FILE")
@click.pass_context
def backup(context: click.Context, to: str) -> None:
    """Save a copy of the running master's store to FILE; - is standard output.

    The copy is complete and of one instant. To restore it, stop the master and replace its file by the copy.
    """
    settings = settings_of_command(context, Role.CLIENT)
    if not to:
        raise click.UsageError("FILE is empty: name a new file, or - for standard output.")
    if to != STANDARD_OUTPUT and Path(to).exists():
        raise click.UsageError(f"{to} exists already: name a new file.")
    with master(settings, "store") as connection:
        started = connection.call(BROKER, ADMIN, ("backup_begin", {}), timeout_s=COPY_S)
        size_bytes = cast("dict[str, int]", started)["bytes"]

        def fetch(write: Callable[[bytes], object]) -> None:
            at = 0
            while at < size_bytes:
                piece = connection.call(BROKER, ADMIN, ("backup_read", {"at": at}), timeout_s=PATIENCE_S * 6)
                assert isinstance(piece, bytes)
                write(piece)
                at += len(piece)

        if to == STANDARD_OUTPUT:
            fetch(sys.stdout.buffer.write)
            sys.stdout.buffer.flush()
        else:
            _save(Path(to), fetch)
            click.echo(f"{to}: {size_bytes:,} bytes.")


def _save(path: Path, fetch: Callable[[Callable[[bytes], object]], None]) -> None:
    """Write a file completely and synced, or not at all."""
    from distq.storage.private import open_new

    part = path.with_name(path.name + ".part")
    try:
        with open_new(part) as file:
            fetch(file.write)
            _sync(file)
        part.rename(path)
    except OSError as error:
        raise StoreError(f"{part} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@command.command("copy", epilog=URL_HELP)
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="TO")
@json_object
@click.pass_context
def copy(context: click.Context, source: str, to: str, as_json: bool) -> None:
    """Copy everything in the store FROM to the store TO, which must be empty, while no master runs on either.

    All rows go along: tasks in every state with their payloads and results, dead letters, schedules, limits and
    pauses. Ids stay. If the command is interrupted, repeat it: it continues. Until it is complete, no master
    starts on TO. Then start the masters with DISTQ_STORE=TO, and none on FROM.
    """
    from distq.storage.copying import copy as copy_rows

    password_file = settings_of_command(context, Role.MASTER, needs_authkey=False).store_password_file
    from_place, to_place = _place(source, password_file), _place(to, password_file)
    started_at = time.perf_counter()
    done = copy_rows(from_place, to_place, _ProgressLines())
    seconds = time.perf_counter() - started_at
    shown = {"from": from_place.url, "to": to_place.url, **done._asdict(), "duration_s": round(seconds, 3)}
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for queue, states in done.tasks.items():
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        click.echo(f"{'queue':10} {printable(queue)}: {counts}")
    click.echo(f"{'rows':10} {done.rows:,}; written by this run: {done.written:,} in {duration(seconds)}")
    click.echo(f"{'bytes':10} {done.written_bytes:,}")
    click.echo(f"{to_place.url} is complete. Start masters there, and no longer on {from_place.url}.")


class _ProgressLines:
    """Prints how many rows are copied, at most once in PROGRESS_S, on standard error."""

    def __init__(self) -> None:
        self._printed_at = time.perf_counter()

    def __call__(self, done: int, rows: int) -> None:
        if time.perf_counter() - self._printed_at >= PROGRESS_S:
            self._printed_at = time.perf_counter()
            click.echo(f"rows copied: {done:,} of {rows:,}", err=True)


def _place(text: str, password_file: str | None) -> "StorePlace":
    """Read an argument as DISTQ_STORE is read. Raises a usage error."""
    from distq.settings.store_url import parse_store, split_secrets, without_values
    from distq.storage.copying import StorePlace

    try:
        url, secrets = split_secrets(parse_store(text))
    except ValueError as exc:
        raise click.UsageError(
            f"{without_values(text)!r} is no store{f' ({exc})' if str(exc) else ''}: write sqlite:///path or "
            "postgresql://user@host/database."
        ) from None
    return StorePlace(url, secrets, password_file)


@command.command("stat", epilog=FILE_HELP)
@click.argument("path", metavar="[FILE]", required=False)
@json_object
@click.pass_context
def stat(context: click.Context, path: str | None, as_json: bool) -> None:
    """Show the contents of a file that no master has open."""
    _show(_inspected(_file(context, path), checks_every_page=False), as_json)


@command.command("check", epilog=FILE_HELP)
@click.argument("path", metavar="[FILE]", required=False)
@json_object
@click.pass_context
def check(context: click.Context, path: str | None, as_json: bool) -> None:
    """Check every page of a file that no master has open."""
    file = _file(context, path)
    found = _inspected(file, checks_every_page=True)
    _show(found, as_json)
    if found["problems"]:
        raise Damaged(f"{file} is damaged.")
    if not as_json:
        click.echo(f"{file} is not damaged.")


@command.command("salvage")
@click.argument("path", metavar="FILE")
@click.argument("to", metavar="NEW")
def salvage(path: str, to: str) -> None:
    """Copy the readable tasks of the damaged FILE to NEW, which a master can open."""
    from distq.storage.inspect import salvage as copy_out

    done = copy_out(Path(path), Path(to))
    click.echo(f"{to}: {counted(done.copied, 'task')}.")
    if done.without_payload or done.without_head or done.gave_up:
        more = " The damage is too large to examine every page." if done.gave_up else ""
        click.echo(
            "Not copied, because a part of each cannot be read: "
            f"{counted(done.without_payload, 'task')} without a payload, "
            f"{counted(done.without_head, 'payload')} without a task.{more}"
        )


def _file(context: click.Context, path: str | None) -> Path:
    if path is not None:
        return Path(path)
    store = settings_of_command(context, Role.MASTER, needs_authkey=False).store
    if store.startswith("postgres"):
        raise click.UsageError(
            f"DISTQ_STORE is {store}, a database, which its own tools examine (psql, pg_dump, pg_amcheck): these "
            "commands are for a file."
        )
    if not store.startswith("sqlite:///"):
        raise click.UsageError(f"DISTQ_STORE is {store}, which is not a file: name one.")
    return Path(store.removeprefix("sqlite:///"))


def _inspected(path: Path, *, checks_every_page: bool) -> dict[str, Any]:
    from distq.storage.inspect import inspect

    return {"file": str(path), **inspect(path, checks_every_page=checks_every_page)._asdict()}


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{'file':10} {found['file']}")
    click.echo(f"{'bytes':10} {found['bytes']:,}")
    click.echo(f"{'tables':10} version {found['version']}, SQLite {found['sqlite_version']}")
    click.echo(f"{'epoch':10} {found['epoch']}")
    for queue, states in found["tasks"].items():
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        click.echo(f"{'queue':10} {printable(queue)}: {counts}")
    for problem in found["problems"]:
        click.echo(f"{'problem':10} {printable(problem)}")
