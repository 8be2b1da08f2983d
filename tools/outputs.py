"""Runs the commands of a page and writes their outputs below them: `python -m tools.outputs`, or `make outputs`.

The commands are the lines that begin with `$ ` in the page's console blocks. They run in one shell, in a folder of
their own; a Python block whose first line names a file is written to that file first. `~` stands for the folder.
"""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
UP: Final = """export DISTQ_AUTHKEY=$(distq key new) DISTQ_STORE=sqlite:///queue.db
DISTQ_LOG_FORMAT=json distq up --concurrency 2 > up.log 2>&1 &
until grep --quiet master_connected up.log; do sleep 0.1; done"""
"""Shell commands that start a master and a worker with two slots."""


class Page(NamedTuple):
    """A page with outputs."""

    before: str = ""
    """Shell commands before those of the page."""
    depends_on_machine: bool = False
    """Whether words differ between machines, and not only numbers: then the first word of each line counts."""


PAGES: Final = {
    "docs/tutorial/first-cluster.md": Page(),
    "docs/how-to/measure-a-cluster.md": Page(UP, depends_on_machine=True),
    "docs/how-to/troubleshooting.md": Page(f"{UP}\ndistq submit math:sqrt -1 --wait > failed.txt 2>&1"),
}
PORT: Final = "9000"
"""The port that the pages show."""
BLOCK: Final = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE: Final = re.compile(r"\A# (\w+\.py)\n")
KILLED: Final = re.compile(r"bash: line \d+: +\d+ Killed ")
"""What the shell notes about a process that a command has killed; a terminal shows it at another time."""
TIMEOUT_S: Final = 300


def rewritten(page: str, folder: Path, environ: Mapping[str, str], before: str = "") -> str:
    """Return the text of a page with the outputs that its commands have in an empty folder, with these settings.

    The commands `before` run first, in the same shell.
    """
    outputs = folder / "outputs"
    outputs.mkdir()
    (folder / "home").mkdir()
    script = "\n".join((before, *_script(page, outputs)))
    shell = ["bash", "--noprofile", "--norc", "-c", script]
    with subprocess.Popen(
        shell, cwd=folder / "home", env=dict(environ), start_new_session=True, stderr=subprocess.DEVNULL
    ) as running:
        try:
            running.wait(TIMEOUT_S)
        finally:
            with suppress(ProcessLookupError):  # the shell and what it has left in the background
                os.killpg(running.pid, signal.SIGKILL)
    numbers = iter(range(len(list(_commands(page)))))

    def filled(block: re.Match[str]) -> str:
        if block[1] == "python":
            return block[0]
        lines = []
        for command in _commands(block[0]):
            lines += [f"$ {command}", *_shown((outputs / str(next(numbers))).read_text(), folder, environ)]
        return "\n".join(("```console", *lines, "```"))

    return BLOCK.sub(filled, page)


def alike(page: str, *, depends_on_machine: bool = False) -> str:
    """Return a page without what differs between two runs: numbers, units, names of machines, widths of columns."""
    if depends_on_machine:
        page = BLOCK.sub(lambda block: re.sub(r"^(?!\$ |```)(\S*).*$", r"\1", block[0], flags=re.MULTILINE), page)
    without_units = re.sub(r"\d[\d.,:-]*\d|\d", "0", page)
    without_units = re.sub(r"\b0 ?(?:ms|s|m|KiB|MiB|GiB)\b", "0", without_units)
    return re.sub(r" *\n", "\n", re.sub(r"─+", "─", re.sub(r" {2,}", " ", without_units)))


def _commands(text: str) -> Iterator[str]:
    for language, block in BLOCK.findall(text):
        if language == "console":
            yield from re.findall(r"^\$ (.+)$", block, re.MULTILINE)


def _script(page: str, outputs: Path) -> Iterator[str]:
    """Yield the lines of the script: each command with its output into a file, each Python block into its own."""
    number = 0
    for language, block in BLOCK.findall(page):
        if language == "python":
            if found := FILE.match(block):
                yield f"cat > {found[1]} <<'END_OF_FILE'\n{block}END_OF_FILE"
            continue
        for command in _commands(f"```console\n{block}```"):
            yield f"{{ {command}\n}} > {outputs / str(number)} 2>&1"
            number += 1


def _shown(output: str, folder: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the lines of an output as the page shows them, for every machine the same names."""
    port = environ["DISTQ_ADDRESS"].partition(":")[2]
    text = output.replace(str(folder / "home"), "~").replace(f":{port}", f":{PORT}").replace(platform.node(), "box")
    return [line.rstrip() for line in text.splitlines() if line.strip() and not KILLED.match(line)]


def settings(port: int) -> dict[str, str]:
    """Return the environment of the commands: no settings but the address, and no colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISTQ_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    address = {"DISTQ_ADDRESS": f"127.0.0.1:{port}", "DISTQ_HTTP_ADDRESS": "off"}
    return {**kept, **address, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}


def main() -> None:
    """Write the outputs of each page."""
    for name, page_of in PAGES.items():
        page = ROOT / name
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder).resolve()
            text = rewritten(page.read_text(encoding="utf-8"), place, settings(int(PORT)), page_of.before)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
