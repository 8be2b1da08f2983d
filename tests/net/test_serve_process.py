"""Tests of a real master with bad peers: its memory, descriptors, and the standard-library programs it serves."""

import os
import pickle
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import pytest
from tests.net.serving import Peer
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually
from tests.wire.bombs import BOMBS

from distq.wire.errors import RemoteRefusal
from distq.wire.framing import pack

KEY = b"a key of the tests"
MIB = 1 << 20
SETTINGS = {
    "DISTQ_AUTHKEY": KEY.decode(),
    "DISTQ_BIND": "127.0.0.1:0",
    "DISTQ_HTTP_ADDRESS": "off",
    "DISTQ_STORE": "memory:",
    "DISTQ_LOG_FORMAT": "json",
    "DISTQ_LOG_LEVEL": "error",
}


class StdlibManager(BaseManager):
    """A standard-library program's manager."""


StdlibManager.register("get_work_queue")


class Running:
    """A master process."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def connect(self) -> Peer:
        """A peer that has not proved the key."""
        return Peer(socket.create_connection(("127.0.0.1", self.port), SOON_S))

    def peer(self) -> Peer:
        """A peer that has proved the key."""
        peer = self.connect()
        peer.authenticate(KEY)
        return peer

    def work(self) -> Any:
        """A standard-library client's proxy of the work queue."""
        manager = StdlibManager(("127.0.0.1", self.port), KEY)
        manager.connect()
        return manager.get_work_queue()  # type: ignore[attr-defined] # registered

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    @property
    def cpu_s(self) -> float:
        """Processor time of the process in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def descriptors(self) -> int:
        """Number of open descriptors of the process."""
        return _entries(f"/proc/{self.pid}/fd")


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


@contextmanager
def running(descriptors: int | None = None, **settings: str) -> Iterator[Running]:
    """A master on a free port, which the test asks the master for."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = "import sys; from distq.cli import main; main()"
    if descriptors is not None:
        limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))"
        program = f"import resource, sys; {limit}; from distq.cli import main; main()"
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
    child = subprocess.Popen(
        [sys.executable, "-c", program, "master"],
        env={**environ, **SETTINGS, "DISTQ_BIND": f"127.0.0.1:{port}", **settings},
        cwd=ROOT,
    )
    master = Running(child.pid, port)

    def listens() -> bool:
        assert child.poll() is None
        try:
            master.connect().socket.close()
        except OSError:
            return False
        return True

    try:
        eventually(listens)
        yield master
        assert child.poll() is None, "it has survived"
    finally:
        child.terminate()
        assert child.wait(SOON_S) == 0


@pytest.fixture
def master() -> Iterator[Running]:
    """A master with the shipped limits."""
    with running() as made:
        yield made


def test_bad_peers_cost_no_memory(master: Running) -> None:
    """After silent peers, half handshakes, lengths of gigabytes and hostile pickles the master uses no more memory."""
    connect_bad_peers(master)
    before = master.resident_bytes
    for _ in range(5):
        connect_bad_peers(master)
    assert master.resident_bytes - before < 32 * MIB
    assert master.work().qsize() == 0


def connect_bad_peers(master: Running) -> None:
    """Connect as bad peers of each kind."""
    unauthenticated = [master.connect() for _ in range(50)]
    for number, peer in enumerate(unauthenticated):
        peer.socket.sendall((b"", b"\x00\x00", b"\xff" * 60, b"\x00\x00\x00\x20" + b"a" * 20)[number % 4])
    with master.peer() as peer:
        peer.socket.sendall(b"\xff\xff\xff\xff" + (4 << 30).to_bytes(8, "big"))
        with pytest.raises(RemoteRefusal):
            peer.answer()
    with master.peer() as peer:
        for bomb in BOMBS.values():
            if len(bomb) < MIB:
                peer.socket.sendall(pack(bomb))
                with pytest.raises(RemoteRefusal):
                    peer.answer()
    with master.peer() as peer:
        peer.socket.sendall((60 * MIB).to_bytes(4, "big") + bytes(MIB))
    for peer in unauthenticated:
        peer.socket.close()


def test_two_hundred_idle_unauthenticated_peers_delay_no_standard_library_client(master: Running) -> None:
    """A client connects, puts and gets as if it were alone, and the master starts no thread."""
    unauthenticated = [master.connect() for _ in range(200)]
    threads = _entries(f"/proc/{master.pid}/task")
    work = master.work()
    took_s = []
    for number in range(100):
        started_at = time.perf_counter()
        work.put(number)
        assert work.get() == number
        took_s.append(time.perf_counter() - started_at)
    assert statistics.median(took_s) < 0.02
    assert _entries(f"/proc/{master.pid}/task") == threads
    for peer in unauthenticated:
        peer.socket.close()


def test_unauthenticated_peers_are_disconnected_after_the_handshake_limit() -> None:
    """DISTQ_HANDSHAKE_S limits their time, and the master frees what they used."""
    with running(DISTQ_HANDSHAKE_S="1") as master:
        before = master.descriptors
        unauthenticated = [master.connect() for _ in range(100)]
        eventually(lambda: master.descriptors >= before + 99)  # the probe's may have been counted
        assert all(peer.ends() for peer in unauthenticated)
        eventually(lambda: master.descriptors <= before)
        for peer in unauthenticated:
            peer.socket.close()


@pytest.mark.parametrize("size", [17_000, 64_000])
def test_a_stdlib_clients_large_put_does_not_stall(master: Running, size: int) -> None:
    """44 ms each against a server that acknowledges late; the median of many is robust against noise."""
    work = master.work()
    took_s = []
    for _ in range(25):
        started_at = time.perf_counter()
        work.put(b"x" * size)
        took_s.append(time.perf_counter() - started_at)
    assert statistics.median(took_s) < 0.01


def test_a_master_at_the_descriptor_limit_stays_idle_and_serves_peers_with_the_key() -> None:
    """With unauthenticated peers up to the limit, peers with the key connect and get replies, and the loop is idle."""
    with running(descriptors=120) as master:
        work = master.work()
        assert work.empty()  # it is connected from now on
        unauthenticated = [master.connect() for _ in range(400)]
        eventually(lambda: master.descriptors < 110)
        cpu_before_s = master.cpu_s
        time.sleep(1.0)  # a spin shows only over time
        assert master.cpu_s - cpu_before_s < 0.3
        work.put(1)
        assert work.get() == 1
        assert master.work().empty()
        for peer in unauthenticated:
            peer.socket.close()


def test_clients_beyond_the_descriptors_are_disconnected() -> None:
    """The master closes them immediately, serves the others, and has room again after one ends."""
    with running(descriptors=120) as master:
        inside = _as_many_as_get_in(master)
        assert 40 < len(inside) < 120
        inside.pop().socket.close()
        eventually(lambda: _served(master))
        for peer in inside:
            peer.socket.close()


def _as_many_as_get_in(master: Running) -> list[Peer]:
    inside: list[Peer] = []
    try:
        while len(inside) < 120:
            inside.append(master.peer())
    except (EOFError, ConnectionError):
        pass
    return inside


def _served(master: Running) -> bool:
    try:
        with master.peer():
            return True
    except (OSError, EOFError):
        return False


def test_a_hostile_item_is_passed_on_and_never_built(master: Running, tmp_path: Path) -> None:
    """The master opens no file and runs nothing that a pickle names; it answers and continues."""
    proof = tmp_path / "proof"

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return (open, (str(proof), "w"))

    calls: tuple[tuple[Any, ...], ...] = (
        ("work", "put", (Evil(),), {}),
        ("work", "put", (), {"item": Evil()}),
        ("work", "get", (Evil(),), {}),
        (None, "create", (Evil(),), {}),
        (None, "get_methods", (Evil(),), {}),
        ("broker", "hello", (Evil(),), {}),
        ("broker", "hello", ({"role": Evil(), "protocol": [1, 1]},), {}),
        ("broker", "stats", (Evil(),), {}),
        (Evil(), Evil(), Evil(), Evil()),
    )
    with master.peer() as peer:
        for call in calls:
            peer.socket.sendall(pack(pickle.dumps(call)))
            peer.frame()
    assert not proof.exists()
    eventually(lambda: bool(master.work().qsize() == 2))  # what `get` has taken is back
