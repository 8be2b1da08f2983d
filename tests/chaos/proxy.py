"""A TCP proxy that cuts, stalls and delays connections: `python -m tests.chaos.proxy PORT TARGET_PORT`.

The program reads commands from its standard input.
"""

import asyncio
import contextlib
import random
import sys

CHUNK_BYTES = 65_536


class Proxy:
    """The proxy, with its open connections and its present faults."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.writers: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either peer closes it or the proxy cuts it."""
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        pair = (writer, there[1])
        self.writers.append(pair)
        await asyncio.gather(self.pump(reader, there[1]), self.pump(there[0], writer))
        self.writers.remove(pair)

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy the bytes of one direction."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self.flowing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)  # the delay of the present command
                writer.write(data)
                await writer.drain()
        writer.close()

    def run_command(self, command: str) -> None:
        """Do one command of standard input: cut SHARE, stall, flow, delay SECONDS."""
        name, _, number = command.partition(" ")
        if name == "cut":
            for pair in list(self.writers):
                if random.random() < float(number):
                    for writer in pair:
                        writer.transport.abort()
        elif name == "stall":
            self.flowing.clear()
        elif name == "flow":
            self.flowing.set()
        elif name == "delay":
            self.delay_s = float(number)


async def main() -> None:
    """Serve until standard input ends."""
    proxy = Proxy(int(sys.argv[2]))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with server:
        while line := await commands.readline():
            proxy.run_command(line.decode().strip())


if __name__ == "__main__":
    asyncio.run(main())
