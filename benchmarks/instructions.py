"""Counts the machine instructions of a master for each operation, of this checkout beside others, with callgrind.

For the round trip of a task it also counts those of the client and of the executor.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.measure import show
from benchmarks.processes import AUTHKEY, ROOT, Running, connect, master, wait_until_listening, worker
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


class Counted:
    """A process that runs under callgrind."""

    def __init__(self, pid: int, out: Path) -> None:
        self._pid = pid
        self._out = out
        """The file that callgrind writes; a dump's name has its number behind it."""
        self._dumps = 0

    def instructions(self) -> int:
        """Return the instructions since the last call."""
        self._dumps += 1
        subprocess.run(["callgrind_control", "--dump", str(self._pid)], check=True, capture_output=True)
        dump = self._out.with_name(f"{self._out.name}.{self._dumps}")
        until_at = time.monotonic() + DUMP_S
        while not (dump.exists() and (total := re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE))):
            if time.monotonic() > until_at:
                raise TimeoutError(f"callgrind has not written {dump} within {DUMP_S:.0f} s.")
            time.sleep(0.05)  # callgrind writes the file without a notification
        return int(total[1])

    def count(self, operation: Callable[[], object], times: int) -> float:
        """Return the instructions of one operation, after a warm-up."""
        return self.count_groups(lambda count: [operation() for _ in range(count)], times)

    def count_groups(self, run: Callable[[int], object], times: int) -> float:
        """Return the instructions of one operation, of which `run` runs a number, after a warm-up."""
        run(max(20, times // 10))
        self.instructions()
        run(times)
        return self.instructions() / times


@contextmanager
def counted(
    checkout: Path,
    *command: str,
    children: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
    pipes: int | None = None,
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run a Python of a checkout under callgrind; yields the process and the file of its counts.

    With `children` the processes that it starts run under callgrind, too; `%p` in the file stands for the process id.
    `pipes` is its standard input and output.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTQ_")}
    common = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{checkout / 'src'}:{checkout}", "DISTQ_AUTHKEY": AUTHKEY}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / ("out.%p" if children else "out")
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        callgrind += ["--trace-children=yes"] if children else []
        with subprocess.Popen(
            [*callgrind, str(checkout / ".venv" / "bin" / "python"), *command],
            env=clean | common | dict(environ),
            cwd=checkout,
            stdin=pipes,
            stdout=pipes,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as child:
            try:
                yield child, out
            finally:
                child.send_signal(signal.SIGTERM)


class CountedMaster(NamedTuple):
    """A master that runs under callgrind."""

    running: Running
    process: Counted


@contextmanager
def counted_master(checkout: Path, store: str = "memory:") -> Iterator[CountedMaster]:
    """Run the master of a checkout under callgrind."""
    port, http_port = free_port(), free_port()
    settings = {
        "DISTQ_BIND": f"127.0.0.1:{port}",
        "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
        "DISTQ_STORE": store,
    }
    with counted(checkout, "-m", "distq", "master", environ=settings) as (child, out):
        wait_until_listening(("127.0.0.1", port))
        running = Running(("127.0.0.1", port), ("127.0.0.1", http_port), child.pid)
        yield CountedMaster(running, Counted(child.pid, out))


def stdlib_figures(checkout: Path) -> dict[str, float]:
    """Return the instructions of a master for the calls of a standard-library program."""
    with counted_master(checkout) as counts:
        address = counts.running.address
        work, _ = connect(address)
        operations = (
            partial(connect, address),
            partial(work.put, 1),
            work.get,
            *(partial(work.put, bytes(size)) for size in (17_000, 64_000)),
        )
        return {
            name: counts.process.count(operation, times)
            for (name, times), operation in zip(WORK.items(), operations, strict=True)
        }


def task_figures(checkout: Path, store: str) -> float:
    """Return the instructions of a master for one task at a time."""
    with ExitStack() as stack:
        counts = stack.enter_context(counted_master(checkout, store))
        stack.enter_context(worker(counts.running, "benchmarks.tasks"))
        client = stack.enter_context(Client(text_of(counts.running), AUTHKEY))
        return counts.process.count(lambda: client.submit(square, 1).result(), TRIPS)


def text_of(running: Running) -> str:
    """Return the address of a master as a setting."""
    return ":".join(map(str, running.address))


def client_figure(checkout: Path) -> float:
    """Return the instructions of a client for one task at a time."""
    with ExitStack() as stack:
        running = stack.enter_context(master())
        stack.enter_context(worker(running, "benchmarks.tasks"))
        trips = [str(ROOT / "benchmarks" / "trips.py"), text_of(running), AUTHKEY]
        child, out = stack.enter_context(counted(checkout, *trips, pipes=subprocess.PIPE))
        stdin, stdout = child.stdin, child.stdout
        assert stdin is not None
        assert stdout is not None

        def run(count: int) -> None:
            stdin.write(f"{count}\n")
            stdin.flush()
            if stdout.readline() != "done\n":
                raise RuntimeError("the client has ended before its trips")

        return Counted(child.pid, out).count_groups(run, TRIPS)


def executor_figure(checkout: Path) -> float:
    """Return the instructions of an executor for one task at a time."""
    with ExitStack() as stack:
        running = stack.enter_context(master())
        arguments = ["-m", "distq", "worker", "--concurrency", "1", "benchmarks.tasks"]
        environ = {"DISTQ_ADDRESS": text_of(running)}
        supervisor, out = stack.enter_context(counted(checkout, *arguments, children=True, environ=environ))
        client = stack.enter_context(Client(text_of(running), AUTHKEY))
        client.submit(square, 1).result()  # from here on there is an executor
        (pid,) = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
        executor = Counted(int(pid), out.with_name(out.name.replace("%p", pid)))
        return executor.count(lambda: client.submit(square, 1).result(), TRIPS)


def scrape_figure(checkout: Path) -> float:
    """Return the instructions of a master for one scrape of its metrics, with many task names."""
    with counted_master(checkout) as counts, Client(text_of(counts.running), AUTHKEY) as client:
        for number in range(TASK_NAMES):
            client.options(queue=f"queue-{number % 30}", delay=3_600).submit_named(f"module:name_{number}")
        client.flush()
        assert counts.running.http is not None
        url = f"http://{counts.running.http[0]}:{counts.running.http[1]}/metrics"
        figure = counts.process.count(lambda: urllib.request.urlopen(url).read(), SCRAPES)
        client.abandon()
        return figure


def figures(checkout: Path) -> dict[str, float]:
    """Return all figures of a checkout, by name."""
    with tempfile.TemporaryDirectory() as folder:
        durable = f"sqlite:///{folder}/{secrets.token_hex(4)}.db"
        return {
            **stdlib_figures(checkout),
            "round trip of a task": task_figures(checkout, "memory:"),
            "the same in the client": client_figure(checkout),
            "the same in the executor": executor_figure(checkout),
            "round trip of a task, durable store": task_figures(checkout, durable),
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
    show("Instructions", rows, ("", "here", *(folder.name for folder in checkouts[1:])))


if __name__ == "__main__":
    main()
