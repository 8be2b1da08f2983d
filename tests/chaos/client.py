"""A client of the chaos test: `python -m tests.chaos.client FOLDER ADDRESS FIRST COUNT`.

Writes down which tasks a master has accepted, and which results have come, each before it goes on: whatever is done
to it, what stands there is what a user would have seen.
"""

import os
import random
import sys
from pathlib import Path

from tests.chaos.tasks import leave_a_trace
from tests.e2e.cluster import KEY

import distq

CHUNK = 50
RUN_S_MAX = 0.01
LONG_RUN_S = 1.5
LONG_SHARE = 0.002


def main() -> None:
    """Submit so many tasks, numbered from `first`, and collect their results."""
    folder, address, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(first)
    accepted = os.open(folder / f"accepted-{first}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    results = os.open(folder / f"results-{first}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    futures = []
    with distq.Client(address, KEY) as client:
        for start in range(first, first + count, CHUNK):
            chunk = []
            for number in range(start, min(start + CHUNK, first + count)):
                run_s = LONG_RUN_S if dice.random() < LONG_SHARE else dice.random() * RUN_S_MAX
                chunk.append((number, client.submit(leave_a_trace, number, run_s)))
            if client.flush(120):
                lines = [f"{number} {future.task_id}\n" for number, future in chunk if future.task_id is not None]
                os.write(accepted, "".join(lines).encode())
            futures += chunk
        for number, future in futures:
            try:
                text = f"{number} {future.result(300)}\n"
            except Exception as error:  # noqa: BLE001 - whatever a user would have seen
                text = f"{number} {type(error).__name__}: {error}\n".replace("\n", " ").strip() + "\n"
            os.write(results, text.encode())


if __name__ == "__main__":
    main()
