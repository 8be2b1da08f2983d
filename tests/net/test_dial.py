"""Tests of connections to a fake master and to the standard library's own server."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.managers import BaseManager
from typing import Any

import pytest
from tests.net.fake_master import HANG_UP, KEY, ReceivedCall, fake_master
from tests.waiting import SOON_S

from distq.net.dial import CannotReach, Connection, ConnectionLost, dial
from distq.settings.address import Address
from distq.wire.errors import AuthenticationFailed, FrameTooLarge, RemoteRefusal


def echo(call: ReceivedCall) -> object:
    """Answers a call with its arguments."""
    return call[2]


def test_a_call_comes_back_with_what_it_returned() -> None:
    """Ident, method and arguments arrive; the answer is the call's value, small or large."""
    with fake_master(echo) as master, closing(dial([master.address], KEY, timeout_s=SOON_S)) as connection:
        assert connection.call("broker", "echo", (1, b"x"), timeout_s=SOON_S) == (1, b"x")
        large = b"x" * 10_000_000
        assert connection.call("broker", "echo", (large,), timeout_s=SOON_S) == (large,)
        assert master.calls.get()[:2] == ("broker", "echo")


def test_a_call_larger_than_the_sockets_buffers_waits_for_room() -> None:
    """A slow reader only delays the call: every byte arrives."""
    reading = threading.Event()

    def slow(call: ReceivedCall) -> object:
        reading.wait(SOON_S)
        return len(call[2][0]) if call[2] else None

    with fake_master(slow) as master, closing(dial([master.address], KEY, timeout_s=SOON_S)) as connection:
        connection.ask("broker", "first", timeout_s=SOON_S)
        threading.Timer(0.1, reading.set).start()
        connection.ask("broker", "second", (b"x" * 30_000_000,), timeout_s=SOON_S)
        assert connection.answer(timeout_s=SOON_S) is None
        assert connection.answer(timeout_s=SOON_S) == 30_000_000


def test_an_exception_of_the_server_is_raised_at_the_caller() -> None:
    """`queue.Empty` stays `queue.Empty`; a refused call raises RemoteRefusal, and the connection stays usable."""

    def answer(call: ReceivedCall) -> object:
        if call[1] == "get":
            raise queue.Empty
        if call[1] == "shutdown":
            raise RemoteRefusal("shutdown is not offered here.")
        return "fine"

    with fake_master(answer) as master, closing(dial([master.address], KEY, timeout_s=SOON_S)) as connection:
        with pytest.raises(queue.Empty):
            connection.call("work", "get", timeout_s=SOON_S)
        with pytest.raises(RemoteRefusal, match="not offered"):
            connection.call(None, "shutdown", timeout_s=SOON_S)
        assert connection.call("work", "qsize", timeout_s=SOON_S) == "fine"


def test_a_wrong_key_raises_an_authentication_error_at_both_ends() -> None:
    """Both ends get the failure, and the master gets no call."""
    with fake_master(echo) as master:
        with pytest.raises(AuthenticationFailed, match="does not let us in"):
            dial([master.address], b"another key of the same kind", timeout_s=SOON_S)
        assert master.closed.get(timeout=SOON_S).authentication_failed


def test_a_server_that_cannot_prove_the_key_is_not_trusted() -> None:
    """The client refuses a false master that accepts every key, because a master must prove the key as well."""
    listener = socket.create_server(("127.0.0.1", 0))

    def welcome_everybody() -> None:
        peer, _ = listener.accept()
        with peer:
            for body in (b"#CHALLENGE#{sha256}" + bytes(32), b"#WELCOME#", b"{sha256}" + bytes(32)):
                peer.sendall(len(body).to_bytes(4, "big") + body)
            while peer.recv(4096):
                pass

    thread = threading.Thread(target=welcome_everybody)
    thread.start()
    with listener, pytest.raises(AuthenticationFailed, match="different authkey"):
        dial([listener.getsockname()[:2]], KEY, timeout_s=SOON_S)
    thread.join()


def test_a_refused_connection_raises_an_error_with_every_address() -> None:
    """The error names every address that the client tried, with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CannotReach, match=rf"127\.0\.0\.1:{port} cannot be reached: Connection refused.*\[::1\]:"):
        dial([("127.0.0.1", port), ("::1", port)], KEY, timeout_s=SOON_S)


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """The client tries several addresses in turn; the connection names the one that answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = ("127.0.0.1", int(listener.getsockname()[1]))
    with fake_master(echo) as master, closing(dial([dead, master.address], KEY, timeout_s=SOON_S)) as connection:
        assert connection.address == master.address


@pytest.mark.parametrize("first_bytes", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\5hello"])
def test_a_server_that_is_no_master_fails_before_the_timeout(first_bytes: bytes) -> None:
    """A silent listener, a web server and an unknown server cause an error in a sentence before the timeout."""
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(first_bytes)
            while peer.recv(4096):
                pass

    thread = threading.Thread(target=speak)
    thread.start()
    with listener, pytest.raises((CannotReach, AuthenticationFailed)):
        dial([listener.getsockname()[:2]], KEY, timeout_s=0.2)
    thread.join()


def test_a_connection_that_ends_without_a_greeting_may_be_a_standby_without_a_leader() -> None:
    """All masters have lost their database, for example: the error says so, and does not only blame the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CannotReach, match=r"no greeting.*no master leads now.*database.*the other end closed it"):
            dial([listener.getsockname()[:2]], KEY, timeout_s=SOON_S)
        thread.join()


def test_an_answer_that_does_not_come_ends_the_connection() -> None:
    """After a timeout the next answer could belong to any call, so the client closes the connection."""
    call = threading.Event()

    def never(_: ReceivedCall) -> object:
        call.wait(SOON_S)
        return HANG_UP

    with fake_master(never) as master:
        connection = dial([master.address], KEY, timeout_s=SOON_S)
        with pytest.raises(ConnectionLost, match="no answer came in time"):
            connection.call("broker", "exchange", timeout_s=0.1)
        assert connection.fileno() == -1
        call.set()


def test_a_connection_that_breaks_is_lost_not_an_eof() -> None:
    """The error names the address."""
    with fake_master(lambda _: HANG_UP) as master:
        connection = dial([master.address], KEY, timeout_s=SOON_S)
        with pytest.raises(ConnectionLost, match=rf"127\.0\.0\.1:{master.address[1]} is lost"):
            connection.call("broker", "exchange", timeout_s=SOON_S)


def test_a_closed_connection_is_lost_although_another_has_its_descriptor() -> None:
    """The system gives the number of a closed descriptor to the next one: a poll of it would wait for that one."""
    own_end, far_end = socket.socketpair()
    connection = Connection(own_end, Address("127.0.0.1", 9000))
    descriptor = connection.fileno()
    connection.close()
    silent, silent_end = socket.socketpair()
    with far_end, silent, silent_end:
        assert (connection.fileno(), silent.fileno()) == (-1, descriptor)
        assert connection.wait((), timeout_s=SOON_S)
        assert connection.wait((silent,), timeout_s=SOON_S)
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                connection.answer(timeout_s=SOON_S)
        with connection.interrupted(), pytest.raises(ConnectionLost):
            connection.answer(timeout_s=SOON_S)
        with pytest.raises(ConnectionLost):
            connection.call("broker", "exchange", timeout_s=SOON_S)


def test_a_frame_above_the_limit_is_refused_before_it_is_read() -> None:
    """A peer cannot fill this process's memory by announcing a length."""
    with fake_master(lambda _: b"x" * 100_000) as master:
        connection = dial([master.address], KEY, timeout_s=SOON_S, frame_bytes_max=65_536)
        with pytest.raises(FrameTooLarge):
            connection.call("broker", "exchange", timeout_s=SOON_S)
        assert connection.fileno() == -1


def test_a_wakeup_descriptor_ends_a_wait() -> None:
    """An executor that must end does not wait for a task first."""
    release = threading.Event()
    with fake_master(lambda _: release.wait(SOON_S)) as master:
        inside, outside = socket.socketpair()
        with inside, outside, closing(dial([master.address], KEY, timeout_s=SOON_S)) as connection:
            connection.ask("broker", "exchange", timeout_s=SOON_S)
            assert not connection.wait((inside,), timeout_s=0.0)
            outside.send(b"!")
            assert not connection.wait((inside,), timeout_s=SOON_S)
            release.set()
            inside.recv(1)
            assert connection.wait((inside,), timeout_s=SOON_S)
            assert connection.answer(timeout_s=SOON_S) is True


class StdlibManager(BaseManager):
    """A server of the standard library alone."""


@contextmanager
def stdlib_server(key: bytes) -> Iterator[tuple[str, int]]:
    """A standard-library server with a work queue, in a process of its own."""
    StdlibManager.register("get_work_queue", callable=queue.Queue)
    manager = StdlibManager(("127.0.0.1", 0), key)
    with manager:
        yield manager.address  # type: ignore[misc] # a TCP address, because it was given one


def test_the_standard_librarys_own_server_is_dialled_alike() -> None:
    """The connection understands the handshake, replies and exceptions of that server."""
    with stdlib_server(KEY) as address:
        with closing(dial([address], KEY, timeout_s=SOON_S)) as first:
            made: Any = first.call(None, "create", ("get_work_queue",), timeout_s=SOON_S)
        with closing(dial([address], KEY, timeout_s=SOON_S)) as connection:
            connection.call(None, "accept_connection", ("test",), timeout_s=SOON_S)
            connection.call(made[0], "put", ({"a": 1},), timeout_s=SOON_S)
            assert connection.call(made[0], "get", timeout_s=SOON_S) == {"a": 1}
            with pytest.raises(queue.Empty):
                connection.call(made[0], "get", (True, 0.01), timeout_s=SOON_S)
        with pytest.raises(AuthenticationFailed):
            dial([address], b"another key of the same kind", timeout_s=SOON_S)
