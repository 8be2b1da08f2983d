"""Tests of the race between addresses: the first that answers wins, and a silent one delays nothing."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.waiting import SOON_S

from distq.net import race as race_module
from distq.net.race import Address, Race

_clock = time.monotonic  # noqa: TID251 - the clock of the race

LATER_S = 3_600.0
"""A pause between two attempts that no test waits for."""


@contextmanager
def listener(greeting: bytes = b"") -> Iterator[Address]:
    """Yield the address of a server whose first connection gets a greeting; without one it stays silent."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if greeting:
            # Linux completes a connection before it is accepted, so that its greeting needs a thread.

            def greet() -> None:
                connection, _ = server.accept()
                connection.sendall(greeting)
                stack.callback(connection.close)

            thread = threading.Thread(target=greet)
            thread.start()
            stack.callback(thread.join)
        yield server.getsockname()[:2]


def refused() -> Address:
    """Return an address at which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: Address = server.getsockname()[:2]
    return address


def race_of(*addresses: Address, seconds: float = SOON_S) -> Race:
    """Return a race between addresses."""
    return Race(addresses, _clock() + seconds, lambda *_: None)


def winner(race: Race) -> Address:
    """Return the address that answers first, and close all sockets."""
    for answering in race.answering():
        answering.connected.close()
        race.close()
        return answering.address
    raise AssertionError(race.failures)


def test_a_silent_address_does_not_keep_the_next_one_from_winning() -> None:
    """A frozen master accepts connections, and sends nothing."""
    with listener() as silent, listener(b"hello") as answers:
        assert winner(race_of(silent, answers)) == answers


def test_a_refused_address_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is for addresses that have not failed."""
    monkeypatch.setattr(race_module, "STAGGER_S", LATER_S)
    gone = refused()
    with listener(b"hello") as answers:
        race = race_of(gone, answers)
        assert winner(race) == answers
    assert [(address, error.errno) for address, error in race.failures] == [(gone, errno.ECONNREFUSED)]


def test_the_next_address_is_not_tried_while_the_first_may_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients would otherwise connect to all masters."""
    monkeypatch.setattr(race_module, "STAGGER_S", LATER_S)
    with listener(b"hello") as first, socket.create_server(("127.0.0.1", 0)) as second:
        assert winner(race_of(first, second.getsockname()[:2])) == first
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.accept()


def test_the_deadline_fails_each_address_that_did_not_answer() -> None:
    """Also those that were not tried."""
    with listener() as silent, listener() as another:
        race = race_of(silent, another, seconds=0.05)
        assert list(race.answering()) == []
        race.close()
    assert [address for address, _ in race.failures] == [silent, another]
    assert all(isinstance(error, TimeoutError) for _, error in race.failures)


def test_all_numeric_addresses_of_a_host_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name often has an address of IPv6 at which the master does not listen."""
    gone = refused()
    with listener(b"hello") as answers:
        infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (gone, answers)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
        assert winner(race_of(("master.example", 9000))) == ("master.example", 9000)


def test_a_name_without_an_address_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other addresses are tried."""

    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    race = race_of(("no.example", 9000))
    assert list(race.answering()) == []
    ((address, error),) = race.failures
    assert (address, error.strerror) == (("no.example", 9000), "Name or service not known")


def test_an_error_of_the_first_bytes_ends_the_race() -> None:
    """Such an error, of a certificate's file for example, is the same at each address."""

    def fail(address: Address, connected: socket.socket) -> None:
        raise ValueError(f"no certificate for {address[0]}")

    with listener() as silent:
        race = Race([silent], _clock() + SOON_S, fail)
        with pytest.raises(ValueError, match=r"no certificate for 127\.0\.0\.1"):
            list(race.answering())
        race.close()
