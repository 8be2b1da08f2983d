"""The HTTP port runs in the master's event loop and does not change its signal handlers."""

import asyncio
import signal
import socket
from typing import Any

import httpx
import pytest
import uvloop
from tests.metrics.fakes import FakeMaster
from tests.web.http_bench import application

from distq.settings.address import Address
from distq.web.server import CannotServe, HttpServer


async def serve_once(host: str) -> tuple[int, str]:
    """Start, send one request, stop; the port is closed afterwards."""
    server = HttpServer(application(FakeMaster()))
    address = await server.start(Address(host, 0))
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/readyz")
    await server.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection(address.host, address.port)
    return answer.status_code, answer.text


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_request_is_answered_and_the_port_closed(loop: str) -> None:
    """Both event loops are tested; port 0 chooses a free port, which `start` returns."""
    run = uvloop.run if loop == "uvloop" else asyncio.run
    assert run(serve_once("127.0.0.1")) == (200, "ready\n")


def test_signals_stay_as_they_were() -> None:
    """The master handles SIGTERM, and drains first."""

    async def handlers_while_serving() -> list[object]:
        server = HttpServer(application(FakeMaster()))
        address = await server.start(Address("127.0.0.1", 0))
        async with httpx.AsyncClient() as client:
            await client.get(f"http://{address}/livez")
        found = handlers()
        await server.stop()
        return found

    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before = handlers()
    loop = asyncio.new_event_loop()  # asyncio.run has a SIGINT handler of its own
    try:
        assert loop.run_until_complete(handlers_while_serving()) == before
    finally:
        loop.close()
    assert handlers() == before


def test_a_port_that_is_taken_is_a_sentence() -> None:
    """The sentence names the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match=f"127.0.0.1:{port}: Address already in use") as caught:
            asyncio.run(HttpServer(application(FakeMaster())).start(Address("127.0.0.1", port)))
    assert "DISTQ_HTTP_ADDRESS" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_host_that_is_not_ours_is_a_sentence() -> None:
    """The host is an unknown name, or an address of another machine."""
    for host in ("no-such-host.invalid", "192.0.2.1"):
        with pytest.raises(CannotServe, match=host):
            asyncio.run(HttpServer(application(FakeMaster())).start(Address(host, 9001)))


def test_a_server_that_was_never_started_and_one_that_has_stopped_can_be_stopped() -> None:
    """A master whose start fails stops each of its parts, started or not."""

    async def stop() -> None:
        server = HttpServer(application(FakeMaster()))
        await server.stop()
        address = await server.start(Address("127.0.0.1", 0))
        await server.stop()
        await server.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection(address.host, address.port)

    asyncio.run(stop())


@pytest.mark.parametrize(("stop_s", "is_finished"), [(20.0, True), (0.0, False)])
def test_a_server_that_stops_finishes_the_answers_under_way(
    monkeypatch: pytest.MonkeyPatch, stop_s: float, *, is_finished: bool
) -> None:
    """It waits for them for STOP_S at most; a connection that only waits for a request delays it by nothing."""
    monkeypatch.setattr("distq.web.server.STOP_S", stop_s)

    async def scene() -> str:
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def slow(scope: object, receive: object, send: Any) -> None:
            begun.set()
            await may_end.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"the end"})

        server = HttpServer(slow)
        address = await server.start(Address("127.0.0.1", 0))
        _, idle = await asyncio.open_connection(*address)
        async with httpx.AsyncClient() as client:
            asking = asyncio.create_task(client.get(f"http://{address}/"))
            await begun.wait()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)  # the server begins to stop
            if is_finished:
                may_end.set()
            await stopping
            idle.close()
            return (await asking).text

    assert asyncio.run(scene()) == ("the end" if is_finished else "Internal Server Error")
