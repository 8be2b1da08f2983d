"""A client of the mixed chaos test: `python -m tests.chaos.mixed_client FOLDER ADDRESS FIRST COUNT`.

It works as `tests.chaos.client`, with every kind of task; each note contains the kind.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.chaos import mixed_tasks as tasks
from tests.chaos.client import Notes
from tests.e2e.cluster import KEY

import distq

RUN_S_MAX: Final = 0.1
KEYS: Final = {f"key{number}": 1 + number % 2 for number in range(6)}
"""The concurrency keys, with the number of tasks of each that may run at the same time."""
GROUP: Final = 8
UNIQUE: Final = 20
COMPUTING_SHARE: Final = 0.5
"""Share of the clients in which another thread computes."""

Future = distq.TaskFuture[Any]


class Submits:
    """The tasks of one client."""

    def __init__(self, client: distq.Client, dice: random.Random) -> None:
        self.client = client
        self.dice = dice
        self.kinds: dict[str, Callable[[int, float], Future]] = {
            "plain": lambda number, run_s: client.submit(tasks.traced, number, run_s),
            "urgent": lambda number, run_s: client.options(priority=9).submit(tasks.traced, number, run_s),
            "keyed": self._keyed,
            "narrow": lambda number, run_s: client.options(queue="narrow").submit(
                tasks.traced, number, run_s, "narrow:2"
            ),
            "heavy": lambda number, run_s: client.options(cost=2).submit(tasks.traced, number, run_s),
            "delayed": lambda number, run_s: client.options(delay=0.01 + run_s * 10).submit(
                tasks.traced, number, run_s
            ),
            "expiring": lambda number, run_s: client.options(expires=0.5).submit(tasks.traced, number, run_s),
            "unique": self._unique,
            "replaced": self._replaced,
            "awaited": lambda number, run_s: client.submit(tasks.awaited, number, run_s),
            "retried": lambda number, run_s: client.submit(tasks.retried, number, run_s),
            "snoozed": lambda number, run_s: client.submit(
                tasks.snoozed,
                number,
                run_s,
                time.time() + 0.3,  # noqa: TID251 - an instant for the task
            ),
            "discarded": lambda number, run_s: client.submit(tasks.discarded, number, run_s),
            "dies": lambda number, run_s: client.submit(tasks.dies, number, run_s),
            "streamed": lambda number, run_s: client.submit(tasks.streamed, number, run_s),
            "resumed": lambda number, run_s: client.submit(tasks.resumed, number, run_s * 5),
            "leaves": lambda number, run_s: client.submit(tasks.leaves, number, run_s),
            "group": self._group,
            "chain": self._chain,
            "judged": self._judged,
            "gathered": self._gathered,
            "insisted": lambda number, run_s: client.options(full="block").submit(tasks.traced, number, run_s),
            "patient": lambda number, run_s: client.options(full=30.0, queue="narrow").submit(
                tasks.traced, number, run_s, "narrow:2"
            ),
            "stopped": lambda number, run_s: client.options(concurrency_key="stopped", concurrency=3).submit(
                tasks.traced, number, run_s * 20, "stopped:3"
            ),
        }

    def _keyed(self, number: int, run_s: float) -> Future:
        key, most = self.dice.choice(list(KEYS.items()))
        options = self.client.options(concurrency_key=key, concurrency=most)
        return options.submit(tasks.traced, number, run_s, f"{key}:{most}")

    def _unique(self, number: int, run_s: float) -> Future:
        key = f"u{self.dice.randrange(UNIQUE)}"
        return self.client.options(unique_key=key, on_conflict="return").submit(tasks.traced, number, run_s, f"{key}:1")

    def _replaced(self, number: int, run_s: float) -> Future:
        key = f"r{self.dice.randrange(UNIQUE)}"
        options = self.client.options(unique_key=key, on_conflict="replace", delay=0.2)
        return options.submit(tasks.traced, number, run_s)

    def _group(self, number: int, run_s: float) -> Future:
        calls = [distq.call(tasks.squared, number, run_s / GROUP, base) for base in range(GROUP)]
        return self.client.group(calls, then=distq.call(tasks.summed, number, GROUP))

    def _chain(self, number: int, run_s: float) -> Future:
        middle = distq.call(tasks.carried, run_s / 2).options(queue="narrow")
        return self.client.chain(distq.call(tasks.begun, number), middle, middle, distq.call(tasks.arrived, number))

    def _judged(self, number: int, _: float) -> Future:
        calls = [distq.call(tasks.falls, base) for base in range(GROUP)]
        return self.client.group(calls, then=distq.call(tasks.judged, number))

    def _gathered(self, number: int, run_s: float) -> Future:
        return self.client.gather(*[distq.call(tasks.squared, number, run_s / GROUP, base) for base in range(GROUP)])


def outcome_of(future: Future) -> object:
    """Return the result; "ok" stands for the correct list of a group."""
    result = future.result(300)
    return "ok" if result == [base * base for base in range(GROUP)] else result


def compute() -> None:
    """Compute without end, which changes the timing of the other threads of this program."""
    while True:
        sum(range(1000))


def main() -> None:
    """Submit `count` tasks, numbered from `first`, and collect their results."""
    folder, address, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(first)
    notes = Notes(folder, first)
    futures: list[tuple[int, str, Future]] = []
    if dice.random() < COMPUTING_SHARE:
        threading.Thread(target=compute, daemon=True).start()
    with distq.Client(address, KEY) as client:
        submits = Submits(client, dice)
        for number in range(first, first + count):
            kind = dice.choice(list(submits.kinds))
            try:
                future = submits.kinds[kind](number, dice.random() * RUN_S_MAX)
            except distq.DistqError:  # no master was available for too long
                continue
            futures.append((number, kind, future))
            if client.flush(120) and future.task_id is not None:
                notes.accepted(f"{number} {future.task_id} {kind}")
        for _, kind, future in futures:
            if kind == "stopped" and dice.random() < 0.5:
                future.abort()
        for number, _, future in futures:
            notes.result(number, lambda future=future: outcome_of(future))  # type: ignore[misc] # called immediately
        assert all(future.done() for *_, future in futures), "a future has no outcome"


if __name__ == "__main__":
    main()
