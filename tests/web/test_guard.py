"""Unauthenticated peers cannot keep probes from their answers; the tests use real sockets and the real server."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from tests.metrics.fakes import FakeMaster
from tests.web.http_bench import application

from distq.settings.address import Address
from distq.web import guard
from distq.web.server import HttpServer

HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
Scene = Callable[[Address], Awaitable[None]]


def play(scene: Scene) -> None:
    """Serve while the scene runs."""

    async def serve() -> None:
        server = HttpServer(application(FakeMaster()))
        address = await server.start(Address("127.0.0.1", 0))
        await ask(address)  # before the first answer connections wait in the backlog
        try:
            await asyncio.wait_for(scene(address), 30)
        finally:
            await server.stop()

    uvloop.run(serve())


async def ask(address: Address, more: bytes = b"") -> bytes:
    """Return the first line of a probe's answer; empty if the server closed the connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    with contextlib.suppress(ConnectionError):
        writer.write(HEAD + more + b"Connection: close\r\n\r\n")
        line = (await reader.read()).partition(b"\r\n")[0]
        writer.close()
        return line
    return b""


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes that arrive until the other end closes."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_idle_connections_make_room_for_probes() -> None:
    """Twice the maximum connect: some send nothing, some begin a request, and each probe is answered immediately."""

    async def scene(address: Address) -> None:
        idle = []
        for number in range(2 * guard.CONNECTIONS_MAX):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            if number % 2:
                writer.write(HEAD)
            idle.append((reader, writer))
            if number % 64 == 63:
                assert await ask(address) == b"HTTP/1.1 200 OK"
        for reader, _ in idle[: guard.CONNECTIONS_MAX]:
            assert await closed(reader) == b""
        for _, writer in idle:
            writer.close()

    play(scene)


def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a head that arrives byte by byte, and a connection that is silent after an answer."""
    monkeypatch.setattr(guard, "HEAD_S", 0.3)

    async def drip(address: Address) -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        end = asyncio.create_task(closed(reader))
        while not end.done():
            writer.write(b"X")
            await asyncio.wait((end,), timeout=0.02)
        assert await end == b""
        writer.close()

    async def silent(address: Address) -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(HEAD + b"\r\n")
        assert (await closed(reader)).startswith(b"HTTP/1.1 200 OK")
        writer.close()

    async def scene(address: Address) -> None:
        await asyncio.gather(drip(address), silent(address))

    play(scene)


def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that the server does not expect does not keep a connection open either."""
    monkeypatch.setattr(guard, "HEAD_S", 0.3)

    async def scene(address: Address) -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
        end = asyncio.create_task(closed(reader))
        while not end.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"X")
            await asyncio.wait((end,), timeout=0.02)
        writer.close()

    play(scene)


def test_garbage_huge_heads_and_pipelines_are_answered_in_their_turn(caplog: pytest.LogCaptureFixture) -> None:
    """Each request receives a refusal or an answer, the log stays empty, and later probes are answered."""

    async def scene(address: Address) -> None:
        for sent, first in (
            (b"\x00\xff garbage\r\n\r\n" * 100, b"HTTP/1.1 400"),
            (HEAD + b"A: " + b"x" * (1 << 20) + b"\r\n\r\n", b"HTTP/1.1 400"),
            ((HEAD + b"\r\n") * 5 + b"\x00 garbage\r\n\r\n", b"HTTP/1.1 200"),
        ):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                assert (await closed(reader)).startswith((first, b"") if len(sent) > 1 << 19 else first)
            writer.close()
            assert await ask(address) == b"HTTP/1.1 200 OK"

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert [record for record in caplog.records if "uvicorn" in record.name] == []


def test_the_address_with_the_most_idle_connections_makes_room() -> None:
    """A new probe from another address stays connected."""

    class Transport:
        def __init__(self) -> None:
            self.aborted = False

        def abort(self) -> None:
            self.aborted = True

    class Connection:
        def __init__(self, host: str) -> None:
            self.host, self.transport = host, Transport()

    guarded = guard.ConnectionGuard()
    probe = Connection("10.0.0.1")
    others = [Connection("10.0.0.2") for _ in range(guard.CONNECTIONS_MAX)]
    for one in (probe, *others):
        guarded.idle(one)  # type: ignore[arg-type] # it has all attributes that the guard reads
        guarded.opened(one)  # type: ignore[arg-type]
    assert [one.transport.aborted for one in (probe, *others)] == [False, True, *[False] * (len(others) - 1)]
