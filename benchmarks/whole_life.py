"""Measures what a task costs the ledger: delayed, with a unique or concurrency key, in a group; beside few and many."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.measure import show
from distq.core.constraints import DependsOn, TaskConstraints
from distq.core.ledger import Ledger
from distq.core.option_values import TASK
from distq.core.outcome import Outcome
from distq.core.registry import Defaults
from distq.core.task import Envelope, Holder

SIZES = (10_000, 100_000, 1_000_000)
PROBES = 50
BATCH = 1_000
KEYS = 10_000
GROUP = 10
LATER = 1e6
"""A time, in seconds, that does not come during the measurement."""


class Bench:
    """A ledger that will hold `size` tasks of one kind."""

    def __init__(self, size: int) -> None:
        self.ledger = Ledger(
            Defaults(capacity=10 * size, tasks_max=20 * size, result_ttl_s=10 * LATER), lambda: 0.5, 1 << 40
        )
        self.envelope: Envelope = self.ledger.registry.envelope("default", "f", TASK)
        self.queue = self.ledger.registry.queue("default")
        self.holder = Holder("bench")
        self.now = 1.0
        self.number = 0

    def commit(self) -> None:
        """Do what a cycle does after the decisions."""
        self.ledger.sweeper.sweep(self.now)
        self.ledger.batch(self.now)
        self.ledger.apply(self.now)

    def run(self, want: int) -> None:
        """Lease up to `want` tasks and settle them as successes."""
        for task in self.ledger.leasing.lease(self.holder, (self.queue,), lambda _: True, want, self.now):
            self.ledger.settle(task.task_key, task.delivery, Outcome.SUCCESS, b"r", 0.001)
        self.commit()


def delayed(bench: Bench, size: int) -> Callable[[], None]:
    """Let `size` tasks wait for later times; the probe submits a batch for an earlier time, and runs it."""
    for start in range(0, size, BATCH):
        bench.ledger.submit(bench.envelope, [b"x"] * BATCH, None, bench.now, due_at=LATER + start % 7919)
        bench.commit()

    def probe() -> None:
        bench.ledger.submit(bench.envelope, [b"x"] * BATCH, None, bench.now, due_at=bench.now + 1.0)
        bench.commit()
        bench.now += 1.0
        bench.commit()
        bench.run(BATCH)

    return probe


def unique(bench: Bench, size: int) -> Callable[[], None]:
    """Let `size` tasks have a unique key each; the probe submits and runs a batch with other keys."""

    def submit(count: int, due_at: float) -> None:
        for _ in range(count):
            bench.number += 1
            name = f"key {bench.number}"
            assert bench.ledger.holder_of_unique(bench.queue, name, bench.now) is None
            constraints = TaskConstraints(unique_key=name)
            bench.ledger.submit(bench.envelope, [b"x"], None, bench.now, due_at=due_at, constraints=constraints)
        bench.commit()

    for _ in range(0, size, BATCH):
        submit(BATCH, LATER)

    def probe() -> None:
        submit(BATCH, 0.0)
        bench.run(BATCH)

    return probe


def keyed(bench: Bench, size: int) -> Callable[[], None]:
    """Let `size` tasks wait for 10,000 concurrency keys, one task of each at a time; the probe runs one more batch."""

    def submit() -> None:
        for _ in range(BATCH):
            bench.number += 1
            constraints = TaskConstraints(concurrency_key=f"key {bench.number % KEYS}")
            bench.ledger.submit(bench.envelope, [b"x"], None, bench.now, constraints=constraints)
        bench.commit()

    for _ in range(0, size, BATCH):
        submit()

    def probe() -> None:
        submit()
        bench.run(BATCH)

    return probe


def grouped(bench: Bench, size: int) -> Callable[[], None]:
    """Let `size` tasks wait in groups of ten with a callback; the probe submits and runs a batch with its callbacks."""

    def submit(due_at: float) -> None:
        for _ in range(BATCH // (GROUP + 1)):
            first = bench.ledger.submit(bench.envelope, [b"x"] * GROUP, None, bench.now, due_at=due_at)
            bench.ledger.submit(
                bench.envelope, [b"x"], None, bench.now, constraints=TaskConstraints(depends_on=DependsOn(first, GROUP))
            )
        bench.commit()

    for _ in range(0, size, BATCH):
        submit(LATER)

    def probe() -> None:
        submit(0.0)
        bench.run(BATCH)
        bench.run(BATCH)

    return probe


def cost(kind: Callable[[Bench, int], Callable[[], None]], size: int) -> float:
    """Return the seconds of a task of this kind from its submit to its end, beside `size` others."""
    probe = kind(Bench(size), size)
    took = []
    for _ in range(PROBES):
        started_at = time.perf_counter()
        probe()
        took.append(time.perf_counter() - started_at)
    return sorted(took)[PROBES // 2] / BATCH


def main() -> None:
    """Measure, and print the figures."""
    kinds = {
        "delayed": delayed,
        "with a unique key": unique,
        f"of {KEYS:,} concurrency keys": keyed,
        f"in groups of {GROUP} with a callback": grouped,
    }
    rows = []
    for name, kind in kinds.items():
        few, some, many = (f"{cost(kind, size) * 1e6:.2f} µs" for size in SIZES)
        rows.append((name, few, some, many))
    few, some, many = (f"beside {size:,}" for size in SIZES)
    show("What a task costs the ledger from its submit to its end", rows, ("", few, some, many))


if __name__ == "__main__":
    main()
