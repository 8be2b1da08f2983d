"""Measures a standard-library client with a standard-library server and with distq: handshake, small and large puts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from benchmarks.measure import median_s, show, time_text
from benchmarks.processes import Running, connect, master, stdlib_server

SIZES = (17_000, 32_000, 64_000)


def figures(server: Callable[[], AbstractContextManager[Running]]) -> dict[str, float]:
    """Return the seconds of each measured call, by name."""
    with server() as running:
        found = {"connect() + both queues": median_s(lambda: connect(running.address), 9)}
        work, _ = connect(running.address)
        found["put of an int"] = median_s(lambda: work.put(1), 500)
        found["get of an int"] = median_s(work.get, 500)
        for size in SIZES:
            payload = b"x" * size
            found[f"put of {size // 1000} kB"] = median_s(partial(work.put, payload), 25)
        return found


def main() -> None:
    """Measure both servers, and print the figures."""
    stdlib, distq = figures(stdlib_server), figures(master)
    rows = [
        (name, time_text(stdlib[name]), time_text(distq[name]), f"{stdlib[name] / distq[name]:.1f} x")
        for name in stdlib
    ]
    show("A standard-library client, unchanged", rows, ("", "standard library", "distq master", "faster"))


if __name__ == "__main__":
    main()
