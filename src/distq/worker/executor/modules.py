"""The import of the modules of tasks, and the folders in which the executor looks for them.

The executor searches the current folder after the standard library; for a script, Python searches it first. Otherwise
a `queue.py` or `logging.py` in the current folder would replace the standard module for distq itself. The executor
searches the current folder before the installed packages, so that it finds a `tasks.py` there.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from distq.tasks.failure import describe
from distq.worker.executor.handler import HandlerUnusable


class ModuleUnusable(HandlerUnusable):
    """A module of tasks cannot be imported."""

    code = "MODULE_UNUSABLE"
    hint = "Name importable modules; the current folder is on the path."


class ModuleShadowed(HandlerUnusable):
    """A module of tasks has the same name as a module of the standard library or as distq."""

    code = "MODULE_SHADOWED"
    hint = "Rename the file."


def add_current_folder() -> None:
    """Search the current folder for modules too, unless PYTHONSAFEPATH forbids that."""
    if os.environ.get("PYTHONSAFEPATH"):
        return
    home = os.__file__.rpartition(os.sep)[0]
    library = [at for at, folder in enumerate(sys.path) if folder == home or folder.startswith(home + os.sep + "lib-")]
    sys.path.insert(max(library, default=-1) + 1, _current_folder())


def import_modules(names: Iterable[str]) -> None:
    """Import the modules of tasks.

    Raises:
        HandlerUnusable: a module cannot be imported; the text is a sentence.
    """
    for name in names:
        check_not_shadowed(name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # a module may raise anything at import
            raise ModuleUnusable(f"The module {name} cannot be imported: {describe(error)}.") from error


def check_not_shadowed(name: str) -> None:
    """Raise ModuleShadowed if Python finds another module of the same name before the one in the current folder."""
    first = name.partition(".")[0]
    if first not in sys.stdlib_module_names and first != "distq":
        return
    folder = os.path.realpath(_current_folder()) + os.sep
    from importlib.util import find_spec  # noqa: PLC0415 - rarely needed

    with suppress(Exception):  # a module without a spec: its import raises the error
        spec = find_spec(name)
        if spec is not None and spec.origin and os.path.realpath(spec.origin).startswith(folder):
            return
    stem = folder + name.replace(".", os.sep)
    for path in (f"{stem}.py", f"{stem}{os.sep}__init__.py"):
        if os.access(path, os.F_OK):
            owner = "distq itself" if first == "distq" else "the standard library"
            raise ModuleShadowed(f"{path} cannot be imported: {owner} has a module {first!r}, and that comes first.")


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - executors start faster without pathlib
    except OSError:  # the folder was deleted
        return os.curdir
