"""Streams, and a task that is interrupted and continues on another worker from its checkpoint.

Needs a worker of `flowing` with one executor. The program starts another worker, and stops the first one, whose process
id is in FIRST_WORKER.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import flowing

import distq


def main() -> int:
    """Show streams and a checkpoint."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as name:
        future = client.submit(flowing.countdown, 5)
        seen = [(part, time.monotonic()) for part in future.stream(timeout=30)]
        print("parts:", *(part for part, _ in seen), "| they came one by one:", seen[-1][1] - seen[0][1] > 0.3)
        print("result:", future.result(30))
        print("again, from anywhere:", *client.future(future.task_id).stream(timeout=30))
        print("after a failure:", *client.submit(flowing.stumbles, str(Path(name) / "stumbled")).stream(timeout=30))

        path = Path(name) / "numbers"
        path.touch()
        counting = client.submit(flowing.count_to, 40, str(path))
        while len(path.read_text().splitlines()) < 10:
            time.sleep(0.02)
        other = subprocess.Popen(
            [sys.executable, "-m", "distq", "worker", "flowing", "--concurrency", "1"],
            env={**os.environ, "PYTHONPATH": str(Path(flowing.__file__).parent)},
            stderr=subprocess.DEVNULL,
        )
        try:
            os.kill(int(os.environ["FIRST_WORKER"]), signal.SIGTERM)
            attempt, _, first = counting.result(60)
        finally:
            other.terminate()
            other.wait()
        numbers = [int(line) for line in path.read_text().splitlines()]
        print(f"it went on elsewhere: {first >= 10}, attempt {attempt}, nothing twice: {numbers == list(range(40))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
