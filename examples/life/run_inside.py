"""What a task can do about its own run. Needs a worker of `inside`."""

import sys
import tempfile
import time
from pathlib import Path

import inside

import distq


def main() -> int:
    """Show `current`, `Retry`, `Snooze` and `Discard`."""
    with distq.Client() as client:
        print(client.submit(inside.run_facts).result(30))
        print(f"Retry: done in attempt {client.submit(inside.stubborn, 3).result(30)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "there"
            waiting = client.submit(inside.when_there, str(path))
            time.sleep(1)
            path.touch()
            print(f"Snooze: a second later, and still attempt {waiting.result(30)}")
        try:
            client.submit(inside.greet, "").result(30)
        except distq.TaskCancelled as error:
            print(f"Discard: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
