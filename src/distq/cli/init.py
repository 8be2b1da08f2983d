"""`distq init`: writes a small project that runs at once."""

import os
import re
import shlex
from pathlib import Path
from typing import Final

import click

from distq.core.errors import DistqError

IGNORED: Final = ".gitignore"
ENV_FILE: Final = ".env"
"""The file with the key."""
NEXT: Final = """\
Next:
{change}
  distq up tasks       runs a master and a worker until Ctrl-C
  python program.py    in a second terminal, submits tasks and prints their results
  pytest               runs test_tasks.py, which starts a cluster of its own

With the images of distq, instead of `distq up tasks`: docker compose up --detach --wait"""


class CannotInit(DistqError):
    """The project cannot be written."""

    code = "CANNOT_INIT"
    exit_code = 2


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def command(folder: Path) -> None:
    """Write a small project into FOLDER, by default the current one: tasks, a program, a test, compose.yaml, .env.

    .env contains a new key. The command changes no file that exists: it writes nothing if FOLDER has one of its files,
    except a .gitignore, which stays as it is.
    """
    from distq._version import __version__
    from distq.cli.project import project_files
    from distq.settings.authkey import new_authkey

    files = dict(project_files(__version__, new_authkey(), project_name(folder.resolve().name)))
    there = [name for name in files if os.path.lexists(folder / name)]
    if IGNORED in there:
        there.remove(IGNORED)
        del files[IGNORED]
    if there:
        raise CannotInit(
            f"The folder {folder.resolve()} already has {_listed(there)}, and `distq init` overwrites no file. "
            "Name another folder, as in `distq init jobs`, or move these files away."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _write(folder / name, text)
    except OSError as error:
        place = error.filename or folder
        raise CannotInit(f"{place} cannot be written: {error.strerror}. Name another folder.") from error
    click.echo(f"Wrote {_listed(list(files))} into {folder.resolve()}.")
    if IGNORED not in files:
        click.echo(
            f"{IGNORED} exists and is unchanged: make sure that it has a line {ENV_FILE}, which contains the key."
        )
    path = f"./{folder}" if str(folder).startswith("-") else str(folder)
    change = "" if folder.resolve() == Path.cwd() else f"\n  cd {shlex.quote(path)}"
    click.echo(f"\n{NEXT.format(change=change)}")


def project_name(folder: str) -> str:
    """Return Compose's own name for a project in a folder, or `distq` where that would be empty, as for `日本`."""
    return re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-") or "distq"


def _write(path: Path, text: str) -> None:
    """Write a new file; only its owner can read one that contains the key, and it fails if the file exists by now."""
    mode = 0o600 if path.name == ENV_FILE else 0o666
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
