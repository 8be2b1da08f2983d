"""The modules of tasks: where they are looked for, and imported.

The current folder comes behind the standard library, unlike where Python runs a script: a `queue.py` or `logging.py` in
it would otherwise be taken for the module of that name by all that an executor imports, distq included. It comes before
installed packages, so that a `tasks.py` in it is found.
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
    """A module of tasks is called as one of the standard library."""

    code = "MODULE_SHADOWED"
    hint = "Rename the file."


def add_current_folder() -> None:
    """Have modules be looked for in the current folder too, unless PYTHONSAFEPATH forbids that."""
    if os.environ.get("PYTHONSAFEPATH"):
        return
    home = os.__file__.rpartition(os.sep)[0]
    library = [at for at, folder in enumerate(sys.path) if folder == home or folder.startswith(home + os.sep + "lib-")]
    sys.path.insert(max(library, default=-1) + 1, _current_folder())


def import_modules(names: Iterable[str]) -> None:
    """Import the modules of tasks.

    Raises:
        HandlerUnusable: one cannot be imported; in a sentence.
    """
    for name in names:
        check_not_shadowed(name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # whatever a module does at import, a sentence names it
            raise ModuleUnusable(f"The module {name} cannot be imported: {describe(error)}.") from error


def check_not_shadowed(name: str) -> None:
    """Raise ModuleShadowed if under the name of a module of the current folder another one is found first."""
    first = name.partition(".")[0]
    if first not in sys.stdlib_module_names and first != "distq":
        return
    folder = os.path.realpath(_current_folder()) + os.sep
    from importlib.util import find_spec  # noqa: PLC0415 - few need it

    with suppress(Exception):  # it cannot be found, or has none: its import says so
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
    except OSError:  # it was deleted
        return os.curdir
