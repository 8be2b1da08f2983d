"""A connection of an asyncio client to the master, and the steps that run on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from distq.client.master_connection import (
    CALL_S,
    DIAL_S,
    ConnectAttempts,
    ConnectionConfig,
    NotAdmitted,
    Outage,
    is_connection_error,
)
from distq.client.steps import MasterCall, Steps
from distq.core.errors import DistqError
from distq.net.async_dial import AsyncConnection, open_with_any
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import CannotReach, ConnectionLost
from distq.net.direct import DIRECT_S, DirectAddress
from distq.protocol.hello import Greeting, read_greeting, write_hello
from distq.protocol.methods import BROKER, GOODBYE, HELLO, SUBMIT
from distq.protocol.submit import split_submit
from distq.settings.address import Address
from distq.wire.errors import RemoteRefusal
from distq.wire.messages import decode_reply

OVERDUE_CHECK_S: Final = 5.0
"""Seconds between two checks whether the master's answer is overdue."""


OnEnd = Callable[[Any, BaseException | None], None]
"""Called after steps, with their result and their error."""


async def admitted(config: ConnectionConfig, direct: DirectAddress) -> tuple[AsyncConnection, Greeting]:
    """A new connection to a master that admits this client, and the master's greeting; raises as `open_channel`."""
    connection, greeting = await _admitted(config, [Address(*one) for one in config.addresses])
    address = direct.of(connection.address, greeting.leader)
    if address is None:
        return connection, greeting
    try:
        async with asyncio.timeout(DIRECT_S):
            other, again = await _admitted(config, [Address(*address)])
    except (DistqError, TimeoutError):
        direct.failed(address)
        return connection, greeting
    except BaseException:
        connection.close()
        raise
    if again.instance != greeting.instance:  # another master has this address, seen from here
        direct.failed(address)
        other.close()
        return connection, greeting
    connection.close()
    return other, again


async def _admitted(config: ConnectionConfig, addresses: Sequence[Address]) -> tuple[AsyncConnection, Greeting]:
    connection = await open_with_any(addresses, config.keys.now(), config.frame_bytes_max, config.tls)
    try:
        hello = write_hello(config.role, config.name, config.session)
        greeting = read_greeting(await connection.call(BROKER, HELLO, hello, timeout_s=DIAL_S))
    except RemoteRefusal as error:
        connection.close()
        raise NotAdmitted(str(error)) from None
    except BaseException:
        connection.close()
        raise
    connection.sends_split = bool(greeting.split)
    return connection, greeting


class MasterLink(ConnectAttempts):
    """One of a client's connections, which a coroutine of its own makes again after each loss.

    It runs steps, one after another, with one call at a time. A call whose connection is lost is sent again.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        outage: Outage,
        on_up: Callable[[Greeting], None],
        on_down: Callable[[DistqError], None],
    ) -> None:
        super().__init__()
        self._config = config
        self._outage = outage
        self._on_up = on_up
        self._on_down = on_down
        """Called after each failed attempt and each loss."""
        self._direct = DirectAddress()
        self._connection: AsyncConnection | None = None
        self._accepts_goodbye = False
        self._steps: Steps[Any] | None = None
        self._call: MasterCall | None = None
        """The call of the steps that has no answer yet."""
        self._on_end: OnEnd | None = None
        self._overdue_at = 0.0
        self._retry = asyncio.Event()
        self.closed = False

    @property
    def is_up(self) -> bool:
        """Whether it is connected."""
        return self._connection is not None

    @property
    def is_busy(self) -> bool:
        """Whether steps run."""
        return self._steps is not None

    # -- the connection ------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and connect again after each loss, until the client is closed."""
        backoff = ReconnectBackoff(self._config.reconnect_max_s)
        while not self.closed:
            self.is_attempting = True
            try:
                connection, greeting = await admitted(self._config, self._direct)
            except DistqError as error:
                self._fails(error)
                if is_connection_error(error):
                    self._outage.note_failure(error)
                    await asyncio.sleep(backoff.pause_s())
                else:  # a wrong key is tried again only after another call of the program
                    self.end(error)
                    await self._retry.wait()
                continue
            finally:
                self.is_attempting = False
                self._retry.clear()
            backoff.connected()
            self._came_up(connection, greeting)
            await self._until_lost(connection)
            if not self.closed:
                why = connection.lost.result()
                self._fails(ConnectionLost(f"The connection to {connection.address} is lost: {why}."))
                await asyncio.sleep(backoff.pause_s())

    def _came_up(self, connection: AsyncConnection, greeting: Greeting) -> None:
        self.failure = None
        self.attempts += 1
        self._outage.end()
        self._accepts_goodbye = bool(greeting.goodbye)
        self._connection = connection
        connection.deliver_to(self._receive)
        self._on_up(greeting)

    def _fails(self, error: DistqError) -> None:
        self._connection = None
        self.failure = error
        self.attempts += 1
        self._on_down(error)

    async def _until_lost(self, connection: AsyncConnection) -> None:
        loop = asyncio.get_running_loop()
        keys = self._config.keys
        used = keys.keys
        try:
            while not connection.lost.done():
                await asyncio.wait((connection.lost,), timeout=OVERDUE_CHECK_S)
                is_overdue = self._call is not None and loop.time() >= self._overdue_at
                if is_overdue or keys.recent() is not used:
                    connection.close()
        finally:
            connection.close()

    def retry(self) -> None:
        """Connect again now, if the master has refused this client before."""
        self._retry.set()

    def close(self, *, sends_goodbye: bool = False) -> None:
        """Close the connection for good; with `sends_goodbye`, send the master a goodbye."""
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if sends_goodbye and self._accepts_goodbye and not connection.lost.done():
                with suppress(ConnectionLost):
                    connection.ask(BROKER, GOODBYE)
            connection.close()
        self.end(CannotReach("the client was closed before the task was accepted."))

    # -- steps ---------------------------------------------------------------------------------

    def start(self, steps: Steps[Any], on_end: OnEnd) -> None:
        """Run steps; `on_end` is called after them."""
        self._steps, self._on_end = steps, on_end
        self._advance(steps.send, None)

    def restart(self, steps: Steps[Any], on_end: OnEnd) -> None:
        """Run these steps instead of the present ones, whose call has no answer on this connection."""
        present, self._steps = self._steps, None
        if present is not None:
            present.close()
        self.start(steps, on_end)

    def end(self, error: BaseException) -> None:
        """Have the call of the present steps fail with that error."""
        if self._steps is not None:
            self._advance(self._steps.throw, error)

    def _advance(self, move: Callable[[Any], MasterCall], value: object) -> None:
        self._call = None
        result: Any = None
        ended: BaseException | None = None
        try:
            self._call = move(value)
        except StopIteration as end:
            result = end.value
        except Exception as error:  # noqa: BLE001 - after any error, no coroutine shall wait for ever
            ended = error
        else:
            self.resend()
            return
        self._steps, on_end, self._on_end = None, self._on_end, None
        if on_end is not None:
            on_end(result, ended)

    def resend(self) -> None:
        """Send the present call, the first time or on a new connection."""
        call, connection = self._call, self._connection
        if call is not None and connection is not None and not connection.lost.done():
            self._overdue_at = asyncio.get_running_loop().time() + call.wait_s + CALL_S
            with suppress(ConnectionLost):  # it is being closed: the call is sent again on the next connection
                is_split = call.method == SUBMIT and connection.sends_split
                connection.ask(BROKER, call.method, *(split_submit(call.args) if is_split else call.args))

    def _receive(self, frame: bytes) -> None:
        """Take the answer to the present call; there is none to the goodbye of a closed client."""
        steps = self._steps
        if steps is None or self._call is None:
            return
        try:
            answer = decode_reply(frame)
        except Exception as error:  # noqa: BLE001 - the steps handle it
            self._advance(steps.throw, error)
        else:
            self._advance(steps.send, answer)
