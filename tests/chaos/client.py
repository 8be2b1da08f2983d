"""A client of the chaos test: `python -m tests.chaos.client FOLDER ADDRESS FIRST COUNT`.

The client writes a note of each accepted task and of each result before it goes on. Whenever the client is killed, its
notes are therefore what a user would have seen.
"""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from tests.chaos.tasks import leave_a_trace
from tests.e2e.cluster import KEY

import distq

CHUNK = 50
RUN_S_MAX = 0.01
LONG_RUN_S = 1.5
LONG_SHARE = 0.002


class Notes:
    """The notes of a client, each written before the client goes on."""

    def __init__(self, folder: Path, first: int) -> None:
        self._accepted = _opened(folder / f"accepted-{first}")
        self._results = _opened(folder / f"results-{first}")

    def accepted(self, lines: str) -> None:
        """Note that a master has accepted these tasks."""
        os.write(self._accepted, f"{lines}\n".encode())

    def result(self, number: int, result: Callable[[], object]) -> None:
        """Note how a task has ended for its client."""
        try:
            text = f"{result()}"
        except Exception as error:  # noqa: BLE001 - every exception that a user would see
            text = " ".join(f"{type(error).__name__}: {error}".split())
        os.write(self._results, f"{number} {text}\n".encode())


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def main() -> None:
    """Submit `count` tasks, numbered from `first`, and collect their results."""
    folder, address, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(first)
    notes = Notes(folder, first)
    futures = []
    with distq.Client(address, KEY) as client:
        for start in range(first, first + count, CHUNK):
            chunk = []
            for number in range(start, min(start + CHUNK, first + count)):
                run_s = LONG_RUN_S if dice.random() < LONG_SHARE else dice.random() * RUN_S_MAX
                chunk.append((number, client.submit(leave_a_trace, number, run_s)))
            if client.flush(120):
                lines = [f"{number} {future.task_id}" for number, future in chunk if future.task_id is not None]
                notes.accepted("\n".join(lines))
            futures += chunk
        for number, future in futures:
            notes.result(number, lambda future=future: future.result(300))  # type: ignore[misc] # called immediately


if __name__ == "__main__":
    main()
