"""The plain handlers of these tests' workers; an item contains the paths of the files that its handler uses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def square(item: Any) -> Any:
    """Return the square of a number."""
    return item * item


def echo(item: Any) -> Any:
    """Return the item."""
    return item


def note(folder: str) -> Path:
    """Note that this process runs the item now, and return the file, whose name is the process id."""
    file = Path(folder) / str(os.getpid())
    file.touch()
    return file


def wait_for_go(folder: str) -> None:
    """Wait until the test creates the file `go`."""
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)  # no event announces a file


def hold(item: tuple[str, str]) -> str:
    """Run until the folder contains a file `go`, and return the item's second part."""
    folder, result = item
    note(folder)
    wait_for_go(folder)
    return result


def poison(item: str) -> str:
    """Die in the way that the item names, or return the item."""
    if item == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "raise":
        raise ValueError("as the item says")
    return item


def fork(folder: str) -> int:
    """Start a process that would run for a minute, note its id, and wait as `hold` does."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (Path(folder) / f"child-{child.pid}").touch()
    hold((folder, ""))
    return child.pid


def key_in_environment(_: Any) -> bool:
    """Return whether this process's arguments or environment contain the authkey."""
    seen = Path("/proc/self/environ").read_bytes() + Path("/proc/self/cmdline").read_bytes()
    return b"a key of the tests" in seen


def orphan(_: Any) -> int:
    """Leave a process without a parent, and return its id."""
    command = ["sh", "-c", "sleep 0.1 >/dev/null & echo $!"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def burdens(_: Any) -> list[str]:
    """Return which of the modules that executors must not import are imported."""
    heavy = {"asyncio", "click", "dotenv", "multiprocessing", "prometheus_client", "rich", "starlette", "structlog"}
    return sorted(heavy & set(sys.modules))
