"""Measures large arguments and results, beside a process pool and a plain relay of bytes, in turns in one run.

A figure counts each body twice, on its way in and on its way out. The relay moves the same bytes over the same four
hops (client, relay, worker, relay, client) without a look at them: what the loopback interface itself carries.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import seconds, show
from benchmarks.processes import AUTHKEY, master, process, wait_until_listening, worker
from benchmarks.tasks import same
from distq import Client
from distq.demo.cluster import free_port

ROUNDS = 3
CHUNK_BYTES = 256 * 1024
"""Bytes that the relay moves at a time."""
HELD_BYTES = 100_000
HELD_TASKS = 3_000
"""Bytes and number of the tasks that wait at the master for the measurement of its memory."""


class Workload(NamedTuple):
    """Tasks that return their argument."""

    name: str
    body_bytes: int
    tasks: int


WORKLOADS = (Workload("1,000 of 100 kB", 100_000, 1_000), Workload("20 of 10 MB", 10_000_000, 20))


def rate(executor: Executor | Client, load: Workload) -> float:
    """Return the megabytes per second, in and out, of tasks that were submitted in a loop."""
    bodies = [bytes([number % 256]) * load.body_bytes for number in range(load.tasks)]

    def run() -> None:
        futures = [executor.submit(same, body) for body in bodies]
        for number, future in enumerate(futures):
            result = future.result()
            assert len(result) == load.body_bytes
            assert result[0] == number % 256

    executor.submit(same, b"warm").result()
    return 2 * load.tasks * load.body_bytes / 1e6 / seconds(run)


def distq(load: Workload, store: str) -> float:
    """Return the rate of a master with that store, one worker with two executors and one client."""
    with (
        master(DISTQ_STORE=store) as running,
        worker(running, "benchmarks.tasks"),
        Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY) as client,
    ):
        return rate(client, load)


def memory(load: Workload) -> float:
    """Return the rate of a master that keeps its tasks in memory."""
    return distq(load, "memory:")


def durable(load: Workload) -> float:
    """Return the rate of a master that keeps its tasks in a file."""
    with tempfile.TemporaryDirectory() as folder:
        return distq(load, f"sqlite:///{Path(folder) / 'tasks.db'}")


def pool(load: Workload) -> float:
    """Return the rate of the standard library's pool of two processes."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        list(executor.map(same, [b"start"] * 2))
        return rate(executor, load)


# -- the relay ---------------------------------------------------------------------------------


def forward(source: socket.socket, target: socket.socket) -> None:
    """Send what `source` receives to `target` until the end of the stream."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := source.recv_into(buffer):
        target.sendall(buffer[:count])
    target.shutdown(socket.SHUT_WR)


def serve_relay(ports: tuple[int, int]) -> None:
    """Forward between the first connection to the first port and the one to the second port, in both directions."""
    with socket.create_server(("127.0.0.1", ports[1])) as other, socket.create_server(("127.0.0.1", ports[0])) as one:
        one.accept()[0].close()  # that of `wait_until_listening`
        near, far = one.accept()[0], other.accept()[0]
        back = threading.Thread(target=forward, args=(far, near))
        back.start()
        forward(near, far)
        back.join()


def serve_echo(port: int) -> None:
    """Send back what comes from that port."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        forward(connection, connection)


@contextlib.contextmanager
def relay() -> Iterator[socket.socket]:
    """Yield a client's connection to the relay, behind which a process sends everything back."""
    ports = free_port(), free_port()
    code = "from benchmarks.payloads import {0}; {0}({1})"
    with process("-c", code.format("serve_relay", ports)):
        wait_until_listening(("127.0.0.1", ports[0]))
        echo = process("-c", code.format("serve_echo", ports[1]))
        with echo, socket.create_connection(("127.0.0.1", ports[0])) as connection:
            yield connection


def loopback(load: Workload) -> float:
    """Return the rate of the relay."""
    body = bytes(load.body_bytes)
    with relay() as connection:

        def send(times: int) -> None:
            for _ in range(times):
                connection.sendall(body)

        def run(times: int) -> None:
            sender = threading.Thread(target=send, args=(times,))
            sender.start()
            buffer = memoryview(bytearray(CHUNK_BYTES))
            left = times * load.body_bytes
            while left:
                left -= connection.recv_into(buffer)
            sender.join()

        run(1)
        return 2 * load.tasks * load.body_bytes / 1e6 / seconds(lambda: run(load.tasks))


# -- memory ------------------------------------------------------------------------------------


def peak_bytes(pid: int) -> int:
    """Return the largest resident set that the process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def held() -> float:
    """Return by how much the master's resident set has grown at most, for each byte of waiting tasks and results."""
    with master() as running, Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY) as client:
        client.flush()
        before_bytes = peak_bytes(running.pid)
        futures = [client.submit(same, bytes([number % 256]) * HELD_BYTES) for number in range(HELD_TASKS)]
        client.flush()
        with worker(running, "benchmarks.tasks"):
            assert all(len(future.result()) == HELD_BYTES for future in futures)
        return (peak_bytes(running.pid) - before_bytes) / (HELD_TASKS * HELD_BYTES)


def main() -> None:
    """Measure, and print the medians."""
    kinds: tuple[Callable[[Workload], float], ...] = (memory, durable, pool, loopback)
    for load in WORKLOADS:
        rounds = [[kind(load) for kind in kinds] for _ in range(ROUNDS)]
        in_memory, in_file, of_pool, of_relay = map(statistics.median, zip(*rounds, strict=True))
        rows = [
            (name, f"{value:,.0f}", f"{value / of_pool:.2f} x", f"{value / of_relay:.2f} x")
            for name, value in (
                ("distq, in memory", in_memory),
                ("distq, durable", in_file),
                ("ProcessPoolExecutor", of_pool),
                ("relay over four hops", of_relay),
            )
        ]
        title = f"{load.name}, in and out, two workers, medians of {ROUNDS} rounds"
        show(title, rows, ("", "MB/s", "of pool", "of relay"))
    print(f"\nPeak memory of the master for each byte of {HELD_TASKS:,} tasks of {HELD_BYTES:,} bytes: {held():.2f}")


if __name__ == "__main__":
    main()
