"""A client of the soak test: `python -m tests.soak.client ADDRESS SECONDS SEED`.

The client submits batches with every kind of task for SECONDS, and waits for each end. The last line of its output is
the number of ended futures of each kind. It exits with 1 if a future has not ended.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any, Final

from tests.e2e.cluster import KEY
from tests.soak import tasks

import distq

BATCH: Final = 40
BATCH_S: Final = 0.6
"""Minimum seconds between the beginnings of two batches.

Two clients are thus a load of at most 133 futures a second. A busy machine that becomes quiet during a run has little
more load than a quiet one.
"""
SETTLED_S: Final = 120.0
"""Maximum seconds until a future has its end; after that the client counts it as lost."""
RUN_S_MAX: Final = 0.02
KINDS: Final = 17
"""The number of kinds of tasks."""

Future = distq.TaskFuture[Any]


def kinds(client: distq.Client, address: str, dice: random.Random) -> dict[str, Callable[[int], Future]]:
    """Return how the client submits a task of each kind."""

    def run_s() -> float:
        return dice.random() * RUN_S_MAX

    def numbers() -> list[distq.Call[Any]]:
        return [distq.call(tasks.work, number, 0.001) for number in range(4)]

    return {
        "plain": lambda number: client.submit(tasks.work, number, run_s()),
        "large": lambda _: client.submit(tasks.large, dice.randrange(200_000)),
        "beside": lambda number: client.submit(tasks.beside, number, run_s()),
        "fails": lambda number: client.submit(tasks.fails, number),
        "again": lambda number: client.submit(tasks.again, number),
        "parts": lambda _: client.submit(tasks.parts, 5),
        "delayed": lambda number: client.options(delay=0.2).submit(tasks.work, number, 0.0),
        "expires": lambda number: client.options(expires=0.05).submit(tasks.work, number, 0.0),
        "keyed": lambda number: client.options(concurrency_key=f"k{number % 5}", concurrency=2).submit(
            tasks.work, number, run_s()
        ),
        "unique": lambda number: client.options(unique_key=f"u{number % 7}", on_conflict="return").submit(
            tasks.work, number, run_s()
        ),
        "blocked": lambda number: client.options(full="block").submit(tasks.work, number, 0.0),
        "chain": lambda _: client.chain(distq.call(tasks.work, 1, 0.0), distq.call(tasks.work, 0.0)),
        "group": lambda _: client.group(numbers(), then=distq.call(tasks.summed)),
        "gather": lambda _: client.gather(*numbers()),
        "cancelled": lambda number: cancelled(client.options(delay=5).submit(tasks.work, number, 0.0)),
        "request": lambda number: distq.Client(address, KEY).submit(tasks.work, number, 0.0),
        "called back": lambda number: called_back(client.submit(tasks.work, number, 0.0)),
    }


def cancelled(future: Future) -> Future:
    """Cancel a task, and return its future."""
    future.cancel()
    return future


def called_back(future: Future) -> Future:
    """Add a done-callback to a future, and return the future."""
    future.add_done_callback(repr)
    return future


def compute() -> None:
    """Hold the interpreter lock for a part of the time."""
    while True:
        sum(range(20_000))
        time.sleep(0.01)  # the time of the other threads


def main() -> None:
    """Run for the number of seconds of the command line."""
    address, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(seed)
    ended: Counter[str] = Counter()
    number = 0
    threading.Thread(target=compute, daemon=True).start()
    end = time.monotonic() + seconds  # noqa: TID251 - a real client lives in real time
    with distq.Client(address, KEY) as client:
        submits = kinds(client, address, dice)
        while (began_at := time.monotonic()) < end:  # noqa: TID251 - as above
            batch: dict[Future, str] = {}
            for _ in range(BATCH):
                number += 1
                kind = dice.choice(list(submits))
                batch[submits[kind](number)] = kind
            wait(batch, SETTLED_S)
            if left := [(kind, repr(one)) for one, kind in batch.items() if not one.done()]:
                print(f"no end within {SETTLED_S:.0f} s: {left}", flush=True)
                client.abandon()
                sys.exit(1)
            ended.update(batch.values())
            batch.clear()
            time.sleep(max(began_at + BATCH_S - time.monotonic(), 0.0))  # noqa: TID251 - as above
    print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()
