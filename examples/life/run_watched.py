"""Progress, `distq why`, `show` and `stack`. Needs a worker of `watched` with one executor."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import watched

import distq


def operator(*words: str) -> str:
    """Return the output of an operator's command."""
    return subprocess.check_output([sys.executable, "-m", "distq", *words], text=True).strip()


def main() -> int:
    """Show the state of tasks."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reading = client.submit(watched.pages, name)
        waiting = client.submit(watched.one_by_one)
        held = client.submit(watched.one_by_one)
        client.flush()
        for page in (1, 2):
            while (progress := reading.progress()) is None or progress.text != f"page {page}":
                time.sleep(0.02)
            print(f"progress: {progress.fraction:.0%} {progress.text}")
            if page == 1:
                print("why:", operator("why", waiting.task_id))
                print("why:", operator("why", held.task_id))
                print("why:", operator("why", reading.task_id))
            (folder / f"seen {page}").touch()
        reading.result(30)
        held.result(30)

        operator("pause", "--name", "watched:one_by_one", "--queue", "default")
        print("why:", operator("why", client_accepts(client, client.submit(watched.one_by_one))))
        operator("resume", "--name", "watched:one_by_one", "--queue", "default")
        delayed = client.options(delay=60).submit(watched.one_by_one)
        print("why:", operator("why", client_accepts(client, delayed)))
        delayed.cancel()
        unknown = client.submit_named("unknown:task")
        client_accepts(client, unknown)
        while "none knows" not in (said := operator("why", unknown.task_id)):
            time.sleep(0.05)
        print("why:", said)
        unknown.cancel()

        failed = client.submit(watched.fails)
        while "attempt 2" not in (said := operator("why", client_accepts(client, failed))):
            time.sleep(0.05)
        print("why:", said)
        failed.exception(60)
        print("show:", operator("show", failed.task_id))

        busy = client.submit(watched.holds_the_interpreter, str(folder / "busy"))
        while not (folder / "busy").exists():
            time.sleep(0.02)
        print("stack:", operator("stack", client_accepts(client, busy)))
        busy.abort()
    return 0


def client_accepts(client: distq.Client, future: distq.TaskFuture[object]) -> str:
    """Return a task's id after the master has accepted the task."""
    client.flush()
    assert future.task_id is not None
    return future.task_id


if __name__ == "__main__":
    sys.exit(main())
