"""Compiles the modules of the standard library that distq imports into a folder: `python images/stdlib.py FOLDER`.

The official images of Python contain the standard library without bytecode, and a container may not write it: every
master, worker and executor would compile it again at its start. The folder repeats the paths of the `__pycache__`
folders, and holds only what the base lacks. The files are of the kind that is compared with the source's hash, so a
base whose source differs compiles that module as before.
"""

import contextlib
import importlib.util
import pkgutil
import py_compile
import sys
import sysconfig
from pathlib import Path

import distq

folder, standard_library = Path(sys.argv[1]), Path(sysconfig.get_path("stdlib"))
for module in pkgutil.walk_packages(distq.__path__, "distq."):
    if not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):  # a module of an extra that is not installed
            importlib.import_module(module.name)

for source in {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}:
    bytecode = Path(importlib.util.cache_from_source(source)) if source.endswith(".py") else None
    if bytecode and bytecode.is_relative_to(standard_library) and not bytecode.exists():
        target = folder / bytecode.relative_to("/")
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        py_compile.compile(source, cfile=str(target), doraise=True, invalidation_mode=mode)
