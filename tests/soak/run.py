"""The soak test: `python -m tests.soak.run SEED MINUTES`, or `make soak MINUTES=20`.

A master with a store on disk, workers with every kind of executor and with recycling, and clients with every kind of
task run for minutes. Meanwhile the test cuts connections, kills executors, runs schedules and scrapes metrics. In the
end every future must have its end, and memory, descriptors and threads of every process that lives for the whole run
must be flat (`flat.py`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.harness import run_on_cluster
from tests.e2e.cluster import KEY, Cluster
from tests.ports import free_port
from tests.soak import tasks
from tests.soak.client import KINDS
from tests.soak.flat import Growth, Sample, growth_of
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq

SAMPLE_S: Final = 1.0
SCRAPE_S: Final = 5.0
FAULT_S: Final = 8.0
"""Approximate seconds between two faults."""
WARM_UP: Final = 0.4
"""Share of the run before the measurements count: 48 s of the two minutes in CI.

During this time results and dead letters reach their retention of 15 s, and caches fill; the store's cache takes up to
16 MiB.
"""
ALLOWED: Final = {"rss_kib": 8 * 1024.0, "descriptors": 4.0, "threads": 3.0}
"""Maximum growth of a process over the rest of the run, beyond what chance can cause.

Together with ALLOWED_SHARE this is about 10 MiB for a master. At 133 futures a second, a run of two minutes finds a
leak from 1.1 KiB a future on, and a run of twenty minutes from 110 bytes on.
"""
ALLOWED_SHARE: Final = {"rss_kib": 0.03, "descriptors": 0.0, "threads": 0.0}
"""Additional growth, as a share of the mean: the memory of a large process varies more."""
SETTINGS: Final = {
    # The master retains results for a short time: they must not count as growth, nor dead letters fill their queue.
    "DISTQ_RESULT_TTL_S": "15s",
    "DISTQ_DEAD_LETTER_TTL_S": "15s",
    "DISTQ_RECONNECT_MAX_S": "0.2",
    "DISTQ_LOG_LEVEL": "warning",
    "DISTQ_MAX_DELIVERIES": "50",
    "DISTQ_QUEUE_LIMITS": "default:capacity=2000",
}
WORKERS: Final = (
    {"DISTQ_MAX_TASKS": "300"},
    {"DISTQ_EXECUTOR": "thread", "DISTQ_EXECUTOR_TASKS": "4", "DISTQ_MAX_TASKS": "1000"},
)
CLIENTS: Final = 2


class Soak:
    """The run of one seed."""

    def __init__(self, grid: Cluster, folder: Path, seed: int, seconds: float) -> None:
        self.grid = grid
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.series: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        """The samples, by process and measured value."""
        self.faults: Counter[str] = Counter()
        self.scrapes = 0
        self.scrape_bytes_max = 0
        proxy_port = free_port()
        self.proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", str(proxy_port), str(grid.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
        )
        self.master = grid.master(
            **{**SETTINGS, "DISTQ_LOG_LEVEL": "info"},
            DISTQ_STORE=f"sqlite:///{folder / 'queue.db'}",
            DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}",
        )
        address = f"127.0.0.1:{proxy_port}"
        self.workers = [
            grid.run("worker", "tests.soak.tasks", "--concurrency", "2", **SETTINGS, DISTQ_ADDRESS=address, **more)
            for more in WORKERS
        ]
        with distq.Client(f"127.0.0.1:{grid.port}", KEY) as client:
            client.options(every=1).schedule("ticks", tasks.ticks)
        command = [sys.executable, "-m", "tests.soak.client", address, str(seconds)]
        self.clients = [
            subprocess.Popen([*command, str(seed + n)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for n in range(CLIENTS)
        ]

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Measure, scrape and make faults until the clients have ended, or one has failed."""
        started_at = time.monotonic()  # noqa: TID251 - real processes live in real time
        next_scrape = next_fault = 0.0
        while any(client.poll() is None for client in self.clients) and not self._failed():
            at = time.monotonic() - started_at  # noqa: TID251 - as above
            if at < self.seconds:
                self.measure(at)
            if at >= next_scrape:
                next_scrape = at + SCRAPE_S
                self.scrape()
            if at >= next_fault and at < self.seconds:
                next_fault = at + FAULT_S * 2 * self.dice.random()
                self.break_something()
            time.sleep(SAMPLE_S)  # the time between two measurements

    def measure(self, at: float) -> None:
        """Measure each process that lives for the whole run, and count the executors."""
        lasting = {"master": self.master.popen.pid}
        lasting |= {f"worker {number}": worker.popen.pid for number, worker in enumerate(self.workers)}
        lasting |= {f"client {number}": client.pid for number, client in enumerate(self.clients)}
        for name, pid in lasting.items():
            with suppress(OSError):
                for what, value in taken_by(pid).items():
                    self.series[name, what].append((at, value))
        for number, worker in enumerate(self.workers):
            costs = []
            for pid in worker.children():
                with suppress(OSError):
                    costs.append(taken_by(pid))
            for what in ALLOWED if costs else ():  # recycled, and therefore judged together
                total = sum(cost[what] for cost in costs) / len(costs)
                self.series[f"executors of worker {number}", what].append((at, total))

    def scrape(self) -> None:
        """Read the metrics as Prometheus does."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.grid.http_port}/metrics", timeout=10) as answer:
            body = answer.read()
        assert b"distq_" in body
        self.scrapes += 1
        self.scrape_bytes_max = max(self.scrape_bytes_max, len(body))

    def break_something(self) -> None:
        """Cut connections, or kill an executor."""
        if self.dice.random() < 0.6:
            assert self.proxy.stdin is not None
            self.proxy.stdin.write(b"cut %.1f\n" % self.dice.choice((0.3, 1.0)))
            self.proxy.stdin.flush()
            self.faults["connections cut"] += 1
        else:
            for pid in self.dice.choice(self.workers).children()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.faults["executor killed"] += 1

    # -- the end -------------------------------------------------------------------------------

    def check(self) -> str:
        """Check the run, and return the report. Raises AssertionError."""
        ended: Counter[str] = Counter()
        for client in self._failed() or self.clients:
            assert client.stdout is not None
            output = client.stdout.read()
            assert client.wait() == 0, f"a client has ended with {client.returncode}: {output}"
            ended.update(json.loads(output.splitlines()[-1]))
        eventually(lambda: self._live() == 0, "the end of every task")
        grown = {key: growth_of(self._judged(key)) for key in self.series}
        lines = [f"{sum(ended.values()):,} futures of {len(ended)} kinds have ended: {dict(ended.most_common())}"]
        lines.append(f"{self.scrapes} scrapes, the largest {self.scrape_bytes_max:,} bytes; {dict(self.faults)}")
        lines += [_line(key, growth) for key, growth in sorted(grown.items())]
        bad = [_line(key, growth) for key, growth in sorted(grown.items()) if growth.exceeds(allowed(key, growth))]
        report = "\n".join(lines)
        assert not bad, "\n".join([report, "not flat:", *bad])
        assert len(ended) == KINDS, f"only {len(ended)} of {KINDS} kinds were submitted"
        return report

    def _failed(self) -> list[subprocess.Popen[str]]:
        return [client for client in self.clients if client.poll()]

    def _judged(self, key: tuple[str, str]) -> list[Sample]:
        return [sample for sample in self.series[key] if sample[0] >= self.seconds * WARM_UP]

    def _live(self) -> int:
        with distq.Client(f"127.0.0.1:{self.grid.port}", KEY) as client:
            client.submit(tasks.ticks).result(60)
        url = f"http://127.0.0.1:{self.grid.http_port}/api/v1/overview"
        with urllib.request.urlopen(url, timeout=10) as answer:
            counts = json.load(answer)["tasks"]
        return int(counts["ready"] + counts["held"])

    def end(self) -> None:
        """End the processes that do not belong to the cluster."""
        for client in self.clients:
            with client:  # waits for the process, and closes its pipes
                client.kill()
        with self.proxy:
            self.proxy.kill()


def allowed(key: tuple[str, str], growth: Growth) -> float:
    """Return the maximum growth of a process."""
    return ALLOWED[key[1]] + ALLOWED_SHARE[key[1]] * growth.mean


def _line(key: tuple[str, str], growth: Growth) -> str:
    name, what = key
    return (
        f"{name:24} {what:12} mean {growth.mean:10,.1f}  rise {growth.rise:+10,.1f} ± {growth.error:,.1f}"
        f"  allowed {allowed(key, growth):,.1f}"
    )


def taken_by(pid: int) -> dict[str, float]:
    """Return the memory, descriptors and threads of a process. Raises OSError if the process has ended."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    if "VmRSS" not in status:
        raise ProcessLookupError(pid)  # it has ended, and its parent has not waited for it yet
    return {
        "rss_kib": float(status["VmRSS"].split()[0]),
        "threads": float(status["Threads"]),
        "descriptors": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
    }


def soak(seed: int, seconds: float, folder: Path) -> str:
    """Run the soak test with its logs in the folder, and return the report."""
    return run_on_cluster(lambda grid: Soak(grid, folder, seed, seconds), folder)


def main() -> None:
    """Run the seed for the number of minutes of the command line."""
    seed, minutes = int(sys.argv[1]), float(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="distq-soak-"))
    print(f"seed {seed}, {minutes:g} minutes, logs in {folder}", flush=True)
    print(soak(seed, minutes * 60, folder))


if __name__ == "__main__":
    main()
