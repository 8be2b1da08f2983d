"""Helpers that list the files of the project, which the tests in this folder check."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def files() -> tuple[Path, ...]:
    """Return every file that git tracks or would add, as paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in sorted(set(names.split("\0")) - {""}) if (ROOT / name).is_file())


def python_files(*folders: str) -> list[Path]:
    """Return the Python files in some of the root's folders, or in all of them."""
    chosen = [path for path in files() if path.suffix == ".py"]
    return [path for path in chosen if not folders or path.parts[0] in folders]


def text(path: Path) -> str:
    """Return the text of a file; bytes that are not UTF-8 become question marks."""
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def functions(path: Path) -> Iterator[Function]:
    """Return every function and method of a Python file, including inner ones."""
    for node in ast.walk(ast.parse(text(path), filename=str(path))):
        if isinstance(node, Function):
            yield node
