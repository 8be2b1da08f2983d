"""P1: tests of lost replies. The call may have had its effect, and the sender repeats it: nothing doubles."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import KEY, Cluster
from tests.ports import free_port

import distq
from distq.net.dial import dial

EVERY = 10
LOOP = 1_500
ALONE = 150
CHUNK_BYTES = 65_536


class Swallower:
    """A proxy before a master, which passes all bytes on but cuts the connection of every tenth reply."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.replies = 0
        self.swallowed = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def start(self) -> None:
        """Serve in a new thread, and return when the proxy listens."""
        self._thread.start()
        assert self._ready.wait(10)

    def end(self) -> None:
        """Cut every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._ready.set()
        async with server:
            await self._stop.wait()
            # Before the server's end, which waits for its connections from Python 3.12 on.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # one cycle of the loop, which closes aborted sockets

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        master = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(asyncio.CancelledError):  # the server must not log its own end
            await self._connect(reader, writer, master)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, master: Any) -> None:
        try:
            await asyncio.gather(self._pass_requests(reader, master[1]), self._pass_replies(master[0], writer))
        finally:
            for peer in (writer, master[1]):
                peer.transport.abort()

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
        writer.transport.abort()

    async def _pass_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(struct.unpack("!i", head)[0])
                self.replies += 1
                if self.replies % EVERY == 0:
                    self.swallowed += 1
                    break
                writer.write(head + body)
        writer.transport.abort()


@pytest.fixture
def swallower(grid: Cluster) -> Iterator[Swallower]:
    """Yield the proxy before the master of `grid`."""
    made = Swallower(grid.port)
    made.start()
    yield made
    made.end()


def test_p1_every_tenth_reply_lost_doubles_nothing_and_loses_nothing(grid: Cluster, swallower: Swallower) -> None:
    """Client and worker both use the proxy: the master accepts each task once, and each has its one result."""
    grid.master()
    through = {"DISTQ_ADDRESS": f"127.0.0.1:{swallower.port}"}
    grid.run("worker", "tests.e2e.tasks", "--concurrency", "2", **through)
    with distq.Client(f"127.0.0.1:{swallower.port}", KEY) as client:
        futures = [client.submit(tasks.square, n) for n in range(LOOP)]
        assert [future.result(60) for future in futures] == [n * n for n in range(LOOP)]
        for n in range(ALONE):
            assert client.submit(tasks.square, n).result(60) == n * n
    assert swallower.swallowed > ALONE // EVERY
    connection = dial([("127.0.0.1", grid.port)], KEY.encode(), timeout_s=10)
    info = {"role": "cli", "protocol": [1, 1], "version": "test", "session": ""}
    connection.call("broker", "hello", (info,), timeout_s=10)
    overview = connection.call("broker", "stats", ("overview",), timeout_s=10)
    connection.close()
    assert isinstance(overview, dict)
    assert overview["submitted"] == LOOP + ALONE
    assert overview["completed"]["success"] == LOOP + ALONE
    assert overview["tasks"]["ready"] == overview["tasks"]["leased"] == overview["tasks"]["dead"] == 0
