"""Runs the blocks of a page as a reader would: in their order, in one shell, in one folder, with real programs."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.docs.blocks import SHELL, Block, blocks_of
from tests.docs.pages import SETUPS, Setup
from tests.docs.stand_ins import NOWHERE, PROGRAMS
from tests.ports import free_port
from tests.storage.postgresql.server import binaries
from tests.tidy.tree import ROOT, files

HERE: Final = ROOT / "tests" / "docs"
KEY: Final = "a key of the tests that is long enough"
TIMEOUT_S: Final = 100
"""Maximum seconds of a page; one takes up to 10 s on an idle machine."""
SERVICE: Final = re.compile(
    r"^((?:[A-Z_]+=\S+ )*)((?:opentelemetry-instrument )?distq (?:up|master|worker|tunnel)\b|uvicorn|gunicorn"
    r"|distq list .*--watch|python manage\.py distq_(?:worker|outbox +#)|python -m distq\.contrib\.sqlalchemy$)",
    re.MULTILINE,
)
"""The commands that run until they are stopped."""
SHELL_FUNCTIONS: Final = r"""
served=()
# serve COMMAND...: starts a command that runs until it is stopped, and waits until it says that it is ready.
serve() {
    local ready log="$READER/.served.${#served[@]}"
    case "$1 ${2:-} ${3:-}" in
        "distq up"* | "distq master"*) end_served; ready='"master_listened"' ;;
        "distq worker"* | *" distq worker"* | *" distq_worker") ready='"master_connected"' ;;
        "distq tunnel"*) ready='the tunnel leads to' ;;
        uvicorn*) ready='Application startup complete' ;;
        gunicorn*) ready='Booting worker' ;;
        *) ready=. ;;
    esac
    "$@" >"$log" 2>&1 &
    served+=($!)
    until grep -q -- "$ready" "$log"; do
        kill -0 $! 2>/dev/null || { cat "$log" >&2; return 1; }
        sleep 0.05
    done
}
end_served() {
    local pid
    for pid in "${served[@]}"; do kill "$pid"; done
    wait
    served=()
}
"""


class PageFailed(AssertionError):
    """A block of a page failed; the message has the whole output."""


def runs(block: Block) -> bool:
    """Return whether `run_page` runs a block of this kind."""
    return block.language in (*SHELL, "python")


def run_page(page: Path, folder: Path, left_out: set[str], skipped: set[int], **environ: str) -> str:
    """Run the blocks of a page and return their output; not those at the lines `skipped` nor the commands `left_out`.

    Raises:
        PageFailed: a command of a block failed.
    """
    setup = SETUPS.get(str(page), Setup())
    port = free_port()
    values = {"port": str(port), "address": f"127.0.0.1:{port}", "other": f"127.0.0.1:{free_port()}"}
    values["django_tasks"] = "django.tasks" if find_spec("django.tasks") else "django_tasks"
    _furnish(folder, setup)
    if "PGHOST" in environ:
        environ["PATH"] = f"{Path(sys.executable).parent}:{binaries()}:{os.environ['PATH']}"
    script = "\n".join(_script(page, folder, setup, left_out, skipped, values))
    output = folder / ".output"
    with (
        output.open("wb") as stream,
        subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-euc", script],
            cwd=folder,
            env={**_environ(folder, port), **environ},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        ) as running,
    ):
        try:
            code: object = running.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = "no end"
        finally:
            with suppress(ProcessLookupError):  # the shell and what it has left in the background
                os.killpg(running.pid, signal.SIGKILL)
    said = output.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise PageFailed(f"{page}: {code}\n{said}")
    return said


def _furnish(folder: Path, setup: Setup) -> None:
    """Fill the reader's folder: the clone of the repository, and the page's files."""
    for name in {path.parts[0] for path in files()} | {".venv"}:
        if not name.startswith(".env"):
            (folder / name).symlink_to(ROOT / name)
    (folder / "authkey").write_text(KEY)
    for name, content in setup.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


def _environ(folder: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISTQ_", "PG"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}",
        "READER": f"{folder}",
        "DISTQ_ADDRESS": f"127.0.0.1:{port}",
        "DISTQ_BIND": f"127.0.0.1:{port}",
        "DISTQ_HTTP_ADDRESS": "off",
        "DISTQ_STORE": "memory:",
        "DISTQ_AUTHKEY": KEY,
        "DISTQ_LOG_FORMAT": "json",
        "DISTQ_RECONNECT_MAX_S": "0.2",
        "UVICORN_PORT": str(free_port()),
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{free_port()}",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        **NOWHERE,
    }


def _script(
    page: Path, folder: Path, setup: Setup, left_out: set[str], skipped: set[int], values: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of the script."""
    yield SHELL_FUNCTIONS
    for name in PROGRAMS:  # functions, because a block may change PATH
        yield f'{name}() {{ "{sys.executable}" "{HERE / "stand_ins.py"}" {name} "$@"; }}'
    yield setup.before
    blocks = blocks_of(page)
    typed = "\n".join(block.commands for block in blocks if block.language in SHELL)
    programs: list[str] = []
    """The Python blocks since the last shell block: one process runs them, each by itself."""
    for block in blocks:
        if block.language == "text" and setup.text_is is not None:
            (folder / setup.text_is).write_text(block.code, encoding="utf-8")
            setup = setup._replace(text_is=None)
        if block.line in skipped and block.file is not None:
            (folder / block.file).write_text(block.code, encoding="utf-8")
        if block.line in skipped or not runs(block):
            continue
        code = block.commands if block.language in SHELL else block.code
        for text, other in setup.reads_as.items():
            code = code.replace(text, re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), other))
        if block.language in SHELL:
            code = "".join(f"{line}\n" for line in code.splitlines() if line.partition(" #")[0].strip() not in left_out)
            yield from _run(programs)
            yield f'echo "+ {page}:{block.line} after $SECONDS s"'
            yield SERVICE.sub(r"\1serve \2", code)
            continue
        if block.file is not None:
            (folder / block.file).parent.mkdir(exist_ok=True)
            (folder / block.file).write_text(code, encoding="utf-8")
            if re.search(rf"(?<![/\w.]){Path(block.file).stem}\b", typed):
                continue  # a command of the page runs it
        path = folder / f".block-{block.line}.py"
        prelude = setup.awaiting if re.search(r"\b(?:await|async) ", code) else setup.prelude
        path.write_text(prelude + code, encoding="utf-8")
        programs.append(str(path))
    yield from _run(programs)


def _run(programs: list[str]) -> Iterator[str]:
    """Yield the command that runs these Python blocks, and empty the list."""
    if programs:
        yield shlex.join(("python", str(HERE / "run_block.py"), *programs))
        programs.clear()
