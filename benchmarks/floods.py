"""Floods a master in several ways, and prints what its honest peers notice beside a quiet master.

`python -m benchmarks.floods [SECONDS]`, the seconds of each flood. An honest client submits one task after the other
meanwhile and waits for each; its latencies, the master's memory and its descriptors are printed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import socket
import statistics
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client as RawClient
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.measure import show, time_text
from benchmarks.processes import AUTHKEY, Running, master, worker
from benchmarks.tasks import square
from distq import Client

SECONDS: Final = 10.0
IDLE_SOCKETS: Final = 5_000
GARBAGE_PER_S: Final = 1_000
SLOW_HANDSHAKES: Final = 500
SCRAPERS: Final = 8
TRICKLED_BYTES: Final = 64 << 20
SETTLE_S: Final = 8.0
"""Seconds after a flood until its memory and descriptors are read: longer than a handshake may take."""
TIMES_QUIET_MAX: Final = 5.0


class Measured(NamedTuple):
    """What was measured during one flood."""

    name: str
    p50_s: float
    p99_s: float
    busy: float
    """The part of the time in which the master computed."""
    rss_mb: float
    descriptors: int
    note: str


Flood = Callable[[Running, Event], str]


def _connect(running: Running) -> socket.socket:
    return socket.create_connection(running.address, 5)


def quiet(_: Running, over: Event) -> str:
    """Do nothing."""
    over.wait()
    return ""


def garbage(running: Running, over: Event) -> str:
    """Open a connection each millisecond, send bytes that are no handshake, and leave."""
    count, next_at = 0, time.monotonic()
    while not over.is_set():
        with contextlib.suppress(OSError), _connect(running) as peer:
            peer.sendall(os.urandom(64))
            count += 1
        next_at += 1 / GARBAGE_PER_S
        time.sleep(max(next_at - time.monotonic(), 0))
    return f"{count:,} connections"


def idle_sockets(running: Running, over: Event) -> str:
    """Keep 5,000 connections open that say nothing, and replace those that the master closes."""
    peers: list[socket.socket] = []
    count = 0
    while not over.is_set():
        while len(peers) < IDLE_SOCKETS and not over.is_set():
            with contextlib.suppress(OSError):
                peers.append(_connect(running))
                count += 1
        over.wait(0.5)
        for peer in peers[:1000]:
            peer.close()
        del peers[:1000]
    for peer in peers:
        peer.close()
    return f"{count:,} connections"


def slow_handshakes(running: Running, over: Event) -> str:
    """Send the frames of a handshake a byte at a time, on many connections."""
    peers: list[tuple[socket.socket, Iterator[int]]] = []
    while not over.is_set():
        while len(peers) < SLOW_HANDSHAKES:
            peers.append((_connect(running), iter(struct.pack("!i", 200) + b"{sha256}" + b"x" * 192)))
        for one in list(peers):
            peer, data = one
            try:
                peer.send(bytes((next(data),)))
            except (OSError, StopIteration):
                peer.close()
                peers.remove(one)
        over.wait(0.05)
    for peer, _ in peers:
        peer.close()
    return f"{SLOW_HANDSHAKES:,} at a time"


def never_reads(running: Running, over: Event) -> str:
    """Ask for pages of statistics on authenticated connections, and read none of them."""
    peers = [_authenticated(running) for _ in range(50)]
    call = _call(None, "get_methods", "broker")
    sent = 0
    for peer in peers:
        peer.setblocking(False)
    while not over.is_set():
        for peer in peers:
            with contextlib.suppress(OSError):
                sent += peer.send(call * 200)
        over.wait(0.01)
    for peer in peers:
        peer.close()
    return f"{sent / 1e6:,.0f} MB of calls"


def trickled_frames(running: Running, over: Event) -> str:
    """Announce frames of 64 MB on authenticated connections, and send them a byte at a time."""
    peers = [_authenticated(running) for _ in range(50)]
    for peer in peers:
        peer.sendall(struct.pack("!i", TRICKLED_BYTES - 1024))
    sent = 0
    while not over.is_set():
        for peer in peers:
            peer.send(b"\x80")
            sent += 1
    for peer in peers:
        peer.close()
    return f"{len(peers)} frames, {sent:,} bytes one by one"


def scrapes(running: Running, over: Event) -> str:
    """Scrape the metrics without a pause, from several threads."""
    assert running.http is not None
    url = f"http://{running.http[0]}:{running.http[1]}/metrics"
    counts = [0] * SCRAPERS

    def scrape(number: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=10).read()
                counts[number] += 1

    threads = [threading.Thread(target=scrape, args=(number,)) for number in range(SCRAPERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{sum(counts):,} scrapes"


def _authenticated(running: Running) -> socket.socket:
    """Return a connection after the standard library's handshake."""
    connection = RawClient(running.address, authkey=AUTHKEY.encode())
    peer = socket.socket(fileno=os.dup(connection.fileno()))
    connection.close()
    return peer


def _call(ident: str | None, method: str, *args: object) -> bytes:
    from distq.wire.framing import pack  # noqa: PLC0415 - only this flood speaks the wire itself
    from distq.wire.messages import encode_call  # noqa: PLC0415

    return pack(encode_call(ident, method, args))


FLOODS: Final[tuple[Flood, ...]] = (
    quiet,
    garbage,
    idle_sockets,
    slow_handshakes,
    never_reads,
    trickled_frames,
    scrapes,
)


def _run(flood: Flood, running: Running, over: Event, begun: Event, notes: Connection) -> None:
    """Flood the master from a process of its own, so that the honest client has a Python for itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begun.set()
    notes.send(flood(running, over))


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(flood: Flood, running: Running, client: Client, seconds: float) -> Measured:
    """Run one flood beside an honest client, and return what was measured."""
    spawn = multiprocessing.get_context("spawn")
    over, begun, (notes, their_end) = spawn.Event(), spawn.Event(), spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(flood, running, over, begun, their_end))
    process.start()
    begun.wait(60)
    times: list[float] = []
    cpu_s, end = _cpu_s(running.pid), time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        client.submit(square, 3).result(60)
        times.append(time.perf_counter() - began)
        time.sleep(0.002)
    busy = (_cpu_s(running.pid) - cpu_s) / seconds
    rss_mb = int(Path(f"/proc/{running.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    over.set()
    note = notes.recv()
    process.join()
    time.sleep(0 if flood is quiet else SETTLE_S)
    name = flood.__name__.replace("_", " ")
    p99_s = statistics.quantiles(times, n=100)[98]
    return Measured(
        name,
        statistics.median(times),
        p99_s,
        busy,
        rss_mb,
        sum(1 for _ in Path(f"/proc/{running.pid}/fd").iterdir()),
        note,
    )


def main(seconds: float) -> int:
    """Run the floods one after the other, and print their figures; return 1 if an honest client waited too long."""
    with (
        master() as running,
        worker(running, "benchmarks.tasks"),
        Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY) as client,
    ):
        client.submit(square, 3).result(60)
        found = [measured(flood, running, client, seconds) for flood in FLOODS]
    first = found[0]
    rows = [
        (
            one.name,
            time_text(one.p50_s),
            time_text(one.p99_s),
            f"{one.p99_s / first.p99_s:.1f} x",
            f"{one.busy:.0%}",
            f"{one.rss_mb:.0f} MB",
            f"{one.descriptors}",
            one.note,
        )
        for one in found
    ]
    show(
        f"A task's round trip during floods of {seconds:g} s each, the master's memory, and its descriptors afterwards",
        rows,
        ("", "p50", "p99", "of quiet", "master's CPU", "memory", "descriptors", "sent"),
    )
    late = [one.name for one in found if one.p99_s > TIMES_QUIET_MAX * first.p99_s]
    kept = [one.name for one in found if one.descriptors > first.descriptors]
    for what, names in (("p99 above 5 x quiet", late), ("descriptors left open", kept)):
        if names:
            print(f"{what}: {', '.join(names)}")
    return 1 if late or kept else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
