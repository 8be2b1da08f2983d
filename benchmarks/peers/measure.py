"""Measures one system in a process of its own, and prints its figures as one line of JSON.

`python -m benchmarks.peers.measure NAME`. With `--held` it measures the memory of queued tasks instead, which no worker
takes.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.peers.system import Module, System

TRIPS: Final = 1_000
TRIPS_S: Final = 2.5
"""Maximum seconds of the closed loop; slow systems make fewer trips."""
CALIBRATION: Final = 300
NO_OP_S: Final = 2.5
"""Seconds that the tasks without work shall take about."""
NO_OPS_MAX: Final = 50_000
BODIES: Final = 1_000
BODY_BYTES: Final = 100_000
HELD: Final = 100_000
HELD_S: Final = 12.0
"""Maximum seconds in which tasks are queued; slow systems queue fewer."""
HELD_BATCH: Final = 1_000

Figures = dict[str, float]


def closed_loop(system: System) -> Figures:
    """Submit one task after the end of the last one."""
    times: list[float] = []
    until_at = time.perf_counter() + TRIPS_S
    while len(times) < TRIPS and time.perf_counter() < until_at:
        began = time.perf_counter()
        system.result(system.submit("square", 3))
        times.append(time.perf_counter() - began)
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": 1e3 * cuts[49], "p99_ms": 1e3 * cuts[98], "trips": len(times)}


def no_ops(system: System) -> Figures:
    """Submit tasks in a loop, and wait for the last result."""
    began = time.perf_counter()
    system.many("square", range(CALIBRATION))
    rate = CALIBRATION / (time.perf_counter() - began)
    count = min(max(CALIBRATION, int(rate * NO_OP_S)), NO_OPS_MAX)
    began = time.perf_counter()
    results = system.many("square", range(count))
    took_s = time.perf_counter() - began
    assert len(results) == count
    assert not system.returns_results or sum(results) == sum(n * n for n in range(count))
    return {"tasks_per_s": count / took_s, "tasks": count}


def payloads(system: System) -> Figures:
    """Send bodies in and out; of a system without results, only in."""
    bodies = [bytes([number % 256]) * BODY_BYTES for number in range(BODIES)]
    began = time.perf_counter()
    results = system.many("same", bodies)
    took_s = time.perf_counter() - began
    assert not system.returns_results or sum(map(len, results)) == BODIES * BODY_BYTES
    times = 2 if system.returns_results else 1
    return {"mb_per_s": times * BODIES * BODY_BYTES / 1e6 / took_s}


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def with_workers(module: Module) -> Figures:
    """Measure everything that needs workers."""
    began = time.perf_counter()
    with module.running(2) as system:
        assert system.result(system.submit("square", 3)) in (9, None)
        figures = {"start_s": time.perf_counter() - began}
        system.many("square", range(100))  # both workers have begun, and every cache is filled
        figures |= closed_loop(system)
        figures |= no_ops(system)
        figures |= payloads(system)
    return figures


def held(module: Module) -> Figures:
    """Measure by how much each queued task grows the process that holds it."""
    with module.running(0) as system:
        if system.broker_pid is None:
            return {}
        system.queue("square", range(HELD_BATCH))
        before_bytes = rss_bytes(system.broker_pid)
        count, until_at = 0, time.perf_counter() + HELD_S
        while count < HELD and time.perf_counter() < until_at:
            system.queue("square", range(count, count + HELD_BATCH))
            count += HELD_BATCH
        return {"held_bytes": (rss_bytes(system.broker_pid) - before_bytes) / count, "held_tasks": count}


def main(name: str, *options: str) -> None:
    """Measure, and print one line of JSON."""
    module: Module = importlib.import_module(f"benchmarks.peers.systems.{name}")
    figures = held(module) if "--held" in options else with_workers(module)
    print(json.dumps({"title": module.TITLE, "settings": module.SETTINGS, "figures": figures}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
