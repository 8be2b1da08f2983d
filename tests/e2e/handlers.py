"""What the workers of these tests run. Items are plain values; those that touch files name them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def square(item: Any) -> Any:
    """A number's square."""
    return item * item


def echo(item: Any) -> Any:
    """The item itself."""
    return item


def note(folder: str) -> Path:
    """Write down that this process runs the item now; returns the file, named after the process."""
    file = Path(folder) / str(os.getpid())
    file.touch()
    return file


def hold(item: tuple[str, str]) -> str:
    """Run until the folder holds a file `go`; the result is the item's second part."""
    folder, result = item
    note(folder)
    while not (Path(folder) / "go").exists():
        # The test makes the file when it has done what it must do while this runs.
        time.sleep(0.01)
    return result


def poison(item: str) -> str:
    """Die as the item says, or return it."""
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
    """Whether the authkey can be read from this process's arguments or environment."""
    seen = Path("/proc/self/environ").read_bytes() + Path("/proc/self/cmdline").read_bytes()
    return b"a key of the tests" in seen


def orphan(_: Any) -> int:
    """Leave a process behind whose parent has gone; returns its id."""
    command = ["sh", "-c", "sleep 0.1 >/dev/null & echo $!"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def burdens(_: Any) -> list[str]:
    """The modules that executors must do without, as far as they are here."""
    heavy = {"asyncio", "click", "dotenv", "multiprocessing", "prometheus_client", "rich", "starlette", "structlog"}
    return sorted(heavy & set(sys.modules))
