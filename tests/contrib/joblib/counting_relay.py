"""A TCP relay that counts the bytes that pass through it, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

CHUNK_BYTES = 1 << 18


class CountingRelay:
    """The relay; its address is that of a master for the peers that connect to it."""

    def __init__(self, target_port: int) -> None:
        self.sent_bytes = 0
        """From the peers to the master."""
        self.received_bytes = 0
        """From the master to the peers."""
        self.port = 0
        self._target_port = target_port
        self._listens = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        assert self._listens.wait(20)

    def stop(self) -> None:
        """Close all connections, and wait for the end of the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        jobs: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            jobs.add(task)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there = await asyncio.open_connection("127.0.0.1", self._target_port)
                await asyncio.gather(self._pump(reader, there[1], "sent"), self._pump(there[0], writer, "received"))
            jobs.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._end.wait()
        server.close()
        for job in list(jobs):
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if direction == "sent":
                    self.sent_bytes += len(data)
                else:
                    self.received_bytes += len(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@contextlib.contextmanager
def relaying(target_port: int) -> Iterator[CountingRelay]:
    """Run a relay to the master at this port."""
    relay = CountingRelay(target_port)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()
