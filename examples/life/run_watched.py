"""Progress, `distq why`, `show` and `stack`. Needs a worker of `watched` with one executor."""

import sys
import tempfile
import time
from pathlib import Path

import watched
from commands import command

import distq


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
                print("why:", command("why", waiting.task_id))
                print("why:", command("why", held.task_id))
                print("why:", command("why", reading.task_id))
            (folder / f"seen {page}").touch()
        reading.result(30)
        held.result(30)

        command("pause", "--name", "watched:one_by_one", "--queue", "default")
        print("why:", command("why", client_accepts(client, client.submit(watched.one_by_one))))
        command("resume", "--name", "watched:one_by_one", "--queue", "default")
        delayed = client.options(delay=60).submit(watched.one_by_one)
        print("why:", command("why", client_accepts(client, delayed)))
        delayed.cancel()
        unknown = client.submit_named("unknown:task")
        client_accepts(client, unknown)
        while "none knows" not in (sentence := command("why", unknown.task_id)):
            time.sleep(0.05)
        print("why:", sentence)
        unknown.cancel()

        failed = client.submit(watched.fails)
        while "attempt 2" not in (sentence := command("why", client_accepts(client, failed))):
            time.sleep(0.05)
        print("why:", sentence)
        failed.exception(60)
        print("show:", command("show", failed.task_id))

        busy = client.submit(watched.holds_the_interpreter, str(folder / "busy"))
        while not (folder / "busy").exists():
            time.sleep(0.02)
        print("stack:", command("stack", client_accepts(client, busy)))
        busy.abort()
    return 0


def client_accepts(client: distq.Client, future: distq.TaskFuture[object]) -> str:
    """Return a task's id after the master has accepted the task."""
    client.flush()
    assert future.task_id is not None
    return future.task_id


if __name__ == "__main__":
    sys.exit(main())
