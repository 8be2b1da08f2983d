"""Tests of the connection of a client that a standby passes on."""

from types import SimpleNamespace
from typing import Any

import pytest

from distq.client import master_connection
from distq.client.master_connection import MasterConnection
from distq.protocol.hello import Greeting
from distq.settings.current_keys import CurrentKeys


class PassedOn:
    """A connection that a standby passes on to its leader."""

    address = ("127.0.0.1", 1)
    sends_split = False
    closed = False

    def call(self, *_args: Any, **_options: Any) -> Any:
        """Return the greeting of the leader."""
        return Greeting(instance="a", leader="127.0.0.2:1")._asdict()

    def close(self) -> None:
        """Note the end."""
        self.closed = True


def test_ctrl_c_while_a_client_connects_to_the_leader_closes_the_connection_that_was_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error is raised as it is, and no connection stays open behind it."""
    passed = PassedOn()
    monkeypatch.setattr(master_connection, "read_greeting", lambda _reply: Greeting(instance="a", leader="127.0.0.2:1"))
    attempts = iter([passed])

    def dial(*_args: Any, **_options: Any) -> Any:
        for connection in attempts:
            return connection
        raise KeyboardInterrupt

    monkeypatch.setattr(master_connection, "dial_with_any", dial)
    config: Any = SimpleNamespace(
        addresses=(PassedOn.address,),
        keys=CurrentKeys("authkeys", (b"key",)),
        frame_bytes_max=1,
        tls=None,
        role="client",
        name="n",
        session="s",
    )
    connection = MasterConnection(config, lambda _greeting, _connection: None)
    with pytest.raises(KeyboardInterrupt):
        connection.ensure_connected()
    assert passed.closed
