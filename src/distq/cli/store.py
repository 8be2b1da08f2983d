"""`distq store`: the file that keeps everything, looked at, copied, and saved from a damaged disk."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import click

from distq.cli.ask import PATIENCE_S, master
from distq.cli.environment import read_settings, settings_of_command
from distq.cli.groups import group
from distq.cli.text import printable
from distq.core.errors import DistqError
from distq.core.ports import StoreError
from distq.protocol.methods import ADMIN, BROKER
from distq.settings import Role

COPY_S: Final = 3600.0
"""How long the master may take to make the copy of a very large file."""
STANDARD_OUTPUT: Final = "-"
FILE_HELP: Final = "FILE is that of DISTQ_STORE where none is given."


class Damaged(DistqError):
    """The file is not whole."""

    code = "STORE_DAMAGED"
    hint = "Restore a backup, or copy what can be read with `distq store salvage`."
    exit_code = 4


@group("store")
def command() -> None:
    """The file with every task: back it up, look into it, check it, save what is left of it."""


@command.command("backup")
@click.argument("to", metavar="FILE")
@click.pass_context
def backup(context: click.Context, to: str) -> None:
    """Fetch a copy of the store from the running master into FILE; - is standard output.

    The copy is of one moment, and whole. To restore it, stop the master and put the copy in the place of its file.
    """
    settings = settings_of_command(context, Role.CLIENT)
    if not to:
        raise click.UsageError("FILE is empty: name a file that is not there yet, or - for standard output.")
    if to != STANDARD_OUTPUT and Path(to).exists():
        raise click.UsageError(f"{to} is there already: name a file that is not.")
    with master(settings, "store") as connection:
        asked = connection.call(BROKER, ADMIN, ("backup_begin", {}), timeout_s=COPY_S)
        size_bytes = cast("dict[str, int]", asked)["bytes"]

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
    """Write a file that is there whole and synced, or not at all."""
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


@command.command("stat", epilog=FILE_HELP)
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def stat(context: click.Context, path: str | None, as_json: bool) -> None:
    """Show what is in a file that no master has open."""
    _show(_inspected(_file(context, path), thoroughly=False), as_json)


@command.command("check", epilog=FILE_HELP)
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def check(context: click.Context, path: str | None, as_json: bool) -> None:
    """Read every page of a file that no master has open, and say whether it is whole."""
    file = _file(context, path)
    found = _inspected(file, thoroughly=True)
    _show(found, as_json)
    if found["problems"]:
        raise Damaged(f"{file} is damaged.")
    if not as_json:
        click.echo(f"{file} is whole.")


@command.command("salvage")
@click.argument("path", metavar="FILE")
@click.argument("to", metavar="NEW")
def salvage(path: str, to: str) -> None:
    """Copy what can be read of the damaged FILE into NEW, which a master can open."""
    from distq.storage.inspect import salvage as copy_out

    done = copy_out(Path(path), Path(to))
    click.echo(f"{to}: {done.copied:,} tasks.")
    if done.without_payload or done.without_head or done.gave_up:
        more = " Damage was so wide that not every place was looked at." if done.gave_up else ""
        click.echo(
            f"Not copied, because half of them cannot be read: {done.without_payload:,} tasks without a payload, "
            f"{done.without_head:,} payloads without a task.{more}"
        )


def _file(context: click.Context, path: str | None) -> Path:
    if path is not None:
        return Path(path)
    store = read_settings(context, Role.MASTER, needs_authkey=False).settings.store
    if not store.startswith("sqlite:///"):
        raise click.UsageError(f"DISTQ_STORE is {store}, which is no file: name one.")
    return Path(store.removeprefix("sqlite:///"))


def _inspected(path: Path, *, thoroughly: bool) -> dict[str, Any]:
    from distq.storage.inspect import inspect

    return {"file": str(path), **inspect(path, thoroughly=thoroughly)._asdict()}


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{'file':10} {found['file']}")
    click.echo(f"{'bytes':10} {found['bytes']:,}")
    click.echo(f"{'tables':10} version {found['version']}, SQLite {found['sqlite_version']}")
    click.echo(f"{'epoch':10} {found['epoch']}")
    for queue, states in found["tasks"].items():
        counted = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        click.echo(f"{'queue':10} {printable(queue)}: {counted}")
    for problem in found["problems"]:
        click.echo(f"{'problem':10} {printable(problem)}")
