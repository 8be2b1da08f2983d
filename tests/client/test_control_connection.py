"""Tests of the connection for requests beside submits and results."""

import pytest
from tests.client.masters import KEY, MasterState, serving

import distq
from distq.net.dial import CannotReach, Connection


def test_a_request_that_connects_while_the_client_is_closed_leaves_no_socket_open() -> None:
    """The thread of the request closes the socket that it has just opened."""
    with serving(MasterState()) as master:
        client = distq.Client(f"127.0.0.1:{master.address[1]}", KEY)
        control = client._session.control
        control.ask("running", [])
        assert control.master_connection.connection is not None
        control.master_connection.connection.abort()  # the next request finds the connection lost, and connects again
        made: list[Connection] = []

        def closed_meanwhile(_greeting: object, connection: Connection) -> None:
            made.append(connection)
            control.close()

        control.master_connection._on_hello = closed_meanwhile
        with pytest.raises(CannotReach, match="the client was closed"):
            control.ask("running", [])
        assert [connection._socket.fileno() for connection in made] == [-1]
        client.abandon()
