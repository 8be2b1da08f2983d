"""Counts the machine instructions of a master for each operation, of this checkout beside others, with callgrind.

    python -m benchmarks.instructions [FOLDER ...]

A folder is another checkout with its own `.venv`. Seconds vary by a third from run to run on a shared machine, and
instructions by less than one percent: a difference of three percent can be read from one run. It needs `valgrind`.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measure import show
from benchmarks.processes import AUTHKEY, ROOT, Running, connect, wait_until_listening, worker
from benchmarks.tasks import square
from distq import Client
from distq.demo.cluster import free_port

DUMP_S = 60.0
TASK_NAMES = 1_000
WORK = {
    "connect() + both queues": 40,
    "put of an int": 400,
    "get of an int": 300,
    "put of 17 kB": 100,
    "put of 64 kB": 100,
}
"""How often each operation of a standard-library program is counted."""
TRIPS = 500
SCRAPES = 10


class CountedMaster:
    """A master that runs under callgrind."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self._folder = folder
        self._dumps = 0

    def instructions(self) -> int:
        """Return the instructions since the last call."""
        self._dumps += 1
        subprocess.run(["callgrind_control", "--dump", str(self.running.pid)], check=True, capture_output=True)
        dump = self._folder / f"out.{self._dumps}"
        until_at = time.monotonic() + DUMP_S
        while not (dump.exists() and (total := re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE))):
            if time.monotonic() > until_at:
                raise TimeoutError(f"callgrind has not written {dump} within {DUMP_S:.0f} s.")
            time.sleep(0.05)  # callgrind writes the file without a notification
        return int(total[1])

    def count(self, operation: Callable[[], object], times: int) -> float:
        """Return the instructions of one operation, after a warm-up."""
        for _ in range(max(20, times // 10)):
            operation()
        self.instructions()
        for _ in range(times):
            operation()
        return self.instructions() / times


@contextmanager
def counted_master(checkout: Path, store: str = "memory:") -> Iterator[CountedMaster]:
    """Run the master of a checkout under callgrind."""
    port, http_port = free_port(), free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTQ_")}
    settings = {
        "DISTQ_AUTHKEY": AUTHKEY,
        "DISTQ_BIND": f"127.0.0.1:{port}",
        "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
        "DISTQ_STORE": store,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(checkout / "src"),
    }
    with tempfile.TemporaryDirectory() as folder:
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command = [*callgrind, str(checkout / ".venv" / "bin" / "python"), "-m", "distq", "master"]
        with subprocess.Popen(command, env=clean | settings, cwd=checkout, stderr=subprocess.DEVNULL) as child:
            try:
                wait_until_listening(("127.0.0.1", port))
                yield CountedMaster(Running(("127.0.0.1", port), ("127.0.0.1", http_port), child.pid), Path(folder))
            finally:
                child.send_signal(signal.SIGTERM)


def stdlib_figures(checkout: Path) -> dict[str, float]:
    """Return the instructions of a master for the calls of a standard-library program."""
    with counted_master(checkout) as master:
        address = master.running.address
        work, _ = connect(address)
        operations = (
            partial(connect, address),
            partial(work.put, 1),
            work.get,
            *(partial(work.put, bytes(size)) for size in (17_000, 64_000)),
        )
        return {
            name: master.count(operation, times)
            for (name, times), operation in zip(WORK.items(), operations, strict=True)
        }


def task_figures(checkout: Path, store: str) -> float:
    """Return the instructions of a master for one task, which a client submits after the end of the last one."""
    with ExitStack() as stack:
        master = stack.enter_context(counted_master(checkout, store))
        stack.enter_context(worker(master.running, "benchmarks.tasks"))
        client = stack.enter_context(Client(":".join(map(str, master.running.address)), AUTHKEY))
        return master.count(lambda: client.submit(square, 1).result(), TRIPS)


def scrape_figure(checkout: Path) -> float:
    """Return the instructions of a master for one scrape of its metrics, with many task names."""
    with counted_master(checkout) as master, Client(":".join(map(str, master.running.address)), AUTHKEY) as client:
        for number in range(TASK_NAMES):
            client.options(queue=f"queue-{number % 30}", delay=3_600).submit_named(f"module:name_{number}")
        client.flush()
        assert master.running.http is not None
        url = f"http://{master.running.http[0]}:{master.running.http[1]}/metrics"
        figure = master.count(lambda: urllib.request.urlopen(url).read(), SCRAPES)
        client.abandon()
        return figure


def figures(checkout: Path) -> dict[str, float]:
    """Return all figures of a checkout, by name."""
    with tempfile.TemporaryDirectory() as folder:
        durable = f"sqlite:///{folder}/{secrets.token_hex(4)}.db"
        return {
            **stdlib_figures(checkout),
            "round trip of a task, in memory": task_figures(checkout, "memory:"),
            "round trip of a task, durable": task_figures(checkout, durable),
            f"scrape of {TASK_NAMES:,} task names": scrape_figure(checkout),
        }


def main() -> None:
    """Count, and print the figures of each checkout."""
    checkouts = [ROOT, *(Path(folder).resolve() for folder in sys.argv[1:])]
    found = [figures(checkout) for checkout in checkouts]
    rows = []
    for name, here in found[0].items():
        others = [f"{other[name] / 1_000:,.1f} k ({here / other[name]:.3f} x)" for other in found[1:]]
        rows.append((name, f"{here / 1_000:,.1f} k", *others))
    show("Instructions of the master", rows, ("", "here", *(folder.name for folder in checkouts[1:])))


if __name__ == "__main__":
    main()
