"""Tasks that are cancelled before they run, and stopped while they run.

Needs a worker of `stopped` with one executor, so that the other tasks wait.
"""

import sys
import tempfile
import time
from concurrent.futures import CancelledError
from pathlib import Path

import stopped
from commands import command

import distq


def wait_for(path: Path) -> None:
    """Wait until the file exists."""
    while not path.exists():
        time.sleep(0.02)


def main() -> int:
    """Show `cancel`, `abort`, and a task that ignores the request to stop."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        busy = client.submit(stopped.busy, str(folder / "busy"), str(folder / "go"))
        wait_for(folder / "busy")
        first = client.submit(stopped.write, str(folder / "first"))
        second = client.submit(stopped.write, str(folder / "second"))
        client.flush()
        print(f"cancel() of one that waits: {first.cancel()}; of one that runs: {busy.cancel()}")
        print("distq cancel ID:", command("cancel", second.task_id))
        try:
            second.result(30)
        except distq.TaskCancelled as error:
            print(f"its client receives: {error}")
        (folder / "go").touch()
        busy.result(30)
        print("neither has run:", not (folder / "first").exists() and not (folder / "second").exists())

        careful = client.submit(stopped.careful, str(folder / "careful"), str(folder / "cleaned"))
        wait_for(folder / "careful")
        print(f"abort() of one that runs: {careful.abort()}")
        wait_for(folder / "cleaned")
        print("it has cleaned up")
        try:
            careful.result(30)
        except CancelledError:
            print("its future is cancelled")

        stubborn = client.submit(stopped.stubborn, str(folder / "stubborn"))
        wait_for(folder / "stubborn")
        started_at = time.monotonic()
        stubborn.abort()
        client.submit(stopped.write, str(folder / "third")).result(30)
        print(f"the executor of one that takes no notice is free again after {time.monotonic() - started_at:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
