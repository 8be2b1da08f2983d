"""TLS between the master's port and the connections of clients, executors and supervisors, with real sockets."""

import asyncio
import multiprocessing.connection
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.net.certificates import Authority, run
from tests.net.serving import KEY, Limits, Serving, serving
from tests.waiting import SOON_S, eventually

from distq.core.errors import DistqError
from distq.net import tls_context
from distq.net.async_dial import open_channel
from distq.net.dial import CannotReach, Connection, dial
from distq.net.tls_context import ServerTls, client_context
from distq.net.tls_files import TlsFiles, TlsUnusable
from distq.net.tls_stream import TlsStream
from distq.settings.address import Address
from distq.wire.errors import TlsFailed
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, TLS_ONLY
from distq.wire.messages import bodies_beside

LOOPS = ("asyncio", "uvloop")
Refusal = Callable[[Serving, TlsFiles | None, str], str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the module's masters and clients."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> TlsFiles:
    """The files of a master at localhost and 127.0.0.1."""
    return authority.server()


def connect(served: Serving, files: TlsFiles | None, host: str = "localhost") -> Connection:
    """Connect as an executor does."""
    return dial([(host, served.address.port)], KEY, timeout_s=SOON_S, tls=files)


async def opened_and_closed(address: Address, files: TlsFiles) -> None:
    """Connect as a supervisor does."""
    (await open_channel([address], KEY, 1 << 20, files)).close()


def refused_blocking(served: Serving, files: TlsFiles | None, host: str) -> str:
    """Return why an executor, a client or a command cannot connect."""
    with pytest.raises(TlsFailed) as caught:
        connect(served, files, host)
    return str(caught.value)


def refused_async(served: Serving, files: TlsFiles | None, host: str) -> str:
    """Return why a supervisor cannot connect."""
    with pytest.raises(TlsFailed) as caught:
        asyncio.run(open_channel([Address(host, served.address.port)], KEY, 1 << 20, files))
    return str(caught.value)


@pytest.mark.parametrize("loop", LOOPS)
def test_calls_of_every_size_pass_through_tls(loop: str, files: TlsFiles, authority: Authority) -> None:
    """Small calls, calls of many records, and answers larger than a socket's buffer arrive whole and in order."""
    with serving(loop, Limits(frame_bytes_max=64 << 20), ServerTls(files)) as served:
        connection = connect(served, authority.client)
        for size in (0, 1, 16 * 1024 - 40, 16 * 1024, 100_000, 8 << 20):
            assert connection.call("thing", "echo", (b"x" * size,), timeout_s=SOON_S) == (b"x" * size,)
            split = (bodies_beside([b"y" * size, b"z" * size]),)
            assert connection.call("thing", "echo", split, timeout_s=SOON_S) == ([b"y" * size, b"z" * size],)
            assert connection.call("thing", "big", (size,), timeout_s=SOON_S) == b"x" * size
        assert not connection.is_answering
        connection.close()
        served.eventually(lambda: len(served.handler.ended) == 1)


def test_a_supervisor_calls_through_tls(files: TlsFiles, authority: Authority) -> None:
    """Its connection answers calls on its event loop, and notices the master's end."""

    async def talk(address: Address) -> object:
        channel = await open_channel([address], KEY, 64 << 20, authority.client)
        answers = [await channel.call("thing", "echo", 1, timeout_s=SOON_S)]
        answers.append(await channel.call("thing", "big", 1 << 20, timeout_s=SOON_S))
        channel.close()
        return answers

    with serving(tls=ServerTls(files)) as served:
        assert asyncio.run(talk(Address("localhost", served.address.port))) == [(1,), b"x" * (1 << 20)]


def test_an_answer_that_arrives_in_pieces_wakes_the_executor(files: TlsFiles, authority: Authority) -> None:
    """Half a TLS record makes the socket readable once, and the connection reports that an answer is under way."""
    with serving(tls=ServerTls(files)) as served, relayed(served.address, chunk_bytes=7) as port:
        connection = dial([("localhost", port)], KEY, timeout_s=SOON_S, tls=authority.client)
        connection.ask("thing", "echo", (b"y" * 3_000,), timeout_s=SOON_S)
        assert connection.wait((), timeout_s=SOON_S)
        assert connection.answer(timeout_s=SOON_S) == (b"y" * 3_000,)
        connection.close()


def test_a_record_in_two_pieces_is_known_to_be_partial(files: TlsFiles, authority: Authority) -> None:
    """An executor that polls the socket knows then that an answer is under way."""
    client, server = TlsStream(client_context(authority.client), "localhost"), ServerTls(files).stream()
    server.receive(client.start())
    client.receive(server.unsent())
    server.receive(client.unsent())
    sealed = server.seal([b"an ", b"answer"])
    assert client.receive(sealed[:9]) + client.receive(sealed[9:-1]) == b"an "
    assert client.has_partial_record
    assert client.receive(sealed[-1:]) == b"answer"
    assert not client.has_partial_record


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_certificate_of_another_ca_is_refused(
    refused: Refusal, files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    """Both ends say so: the client's error names DISTQ_TLS_CA, and the master's log has the reason."""
    with serving(tls=ServerTls(files)) as served:
        assert "DISTQ_TLS_CA has not signed" in refused(served, Authority(tmp_path).client, "localhost")
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert "DISTQ_TLS_CA has not signed it" in served.handler.reasons[0]
        assert served.server.authentication_failures == 1


def test_a_ca_that_another_ca_has_signed_is_trusted_as_such(tmp_path: Path) -> None:
    """Of an intermediate CA cert-manager has only its certificate in `ca.crt`; both ends need no root beside it."""
    intermediate = Authority(tmp_path, "intermediate").signed_by(Authority(tmp_path, "root"))
    tls = ServerTls(intermediate.server(), verify_clients=True)
    with serving(tls=tls) as served:
        own = intermediate.issue("peer")
        connect(served, TlsFiles(own.cert, own.key, intermediate.cert)).close()


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_certificate_for_another_host_is_refused(refused: Refusal, authority: Authority) -> None:
    """The error has the name that was expected."""
    with serving(tls=ServerTls(authority.server("elsewhere.example"))) as served:
        assert "not for the name localhost" in refused(served, authority.client, "localhost")
        assert "not for the name 127.0.0.1" in refused(served, authority.client, "127.0.0.1")


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_master_at_another_address_than_its_certificates_name_is_checked_by_a_given_name(
    refused: Refusal, authority: Authority
) -> None:
    """DISTQ_TLS_SERVER_NAME takes the place of the host, for a blocking connection and one of an event loop."""
    elsewhere = authority.client._replace(server_name="elsewhere.example")
    with serving(tls=ServerTls(authority.server("elsewhere.example"))) as served:
        connect(served, elsewhere, "127.0.0.1").close()
        asyncio.run(opened_and_closed(Address("127.0.0.1", served.address.port), elsewhere))
    with serving(tls=ServerTls(authority.server("localhost"))) as served:
        assert "not for the name elsewhere.example" in refused(served, elsewhere, "localhost")


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_an_expired_certificate_is_refused(refused: Refusal, authority: Authority) -> None:
    """The error says that it must be renewed."""
    with serving(tls=ServerTls(authority.server("localhost", expired=True))) as served:
        assert "has expired. Renew" in refused(served, authority.client, "localhost")
        served.eventually(lambda: "has expired" in "".join(served.handler.reasons))


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_client_without_tls_at_a_tls_port_gets_a_sentence(refused: Refusal, files: TlsFiles) -> None:
    """The master cannot expect it to read TLS: it sends the text that the client's handshake waits for."""
    with serving(tls=ServerTls(files)) as served:
        assert "accepts only TLS. Set DISTQ_TLS_CA" in refused(served, None, "localhost")
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert "set DISTQ_TLS_CA there" in served.handler.reasons[0]


def test_a_standard_library_program_at_a_tls_port_gets_the_sentence(files: TlsFiles) -> None:
    """Its error shows the bytes, which are a text that names `distq tunnel`; they fit into its 256 bytes."""
    assert len(TLS_ONLY) <= HANDSHAKE_FRAME_BYTES_MAX
    with (
        serving(tls=ServerTls(files)) as served,
        pytest.raises((multiprocessing.AuthenticationError, AssertionError), match="distq tunnel"),
    ):
        multiprocessing.connection.Client((served.address.host, served.address.port), authkey=KEY)


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_client_with_tls_at_a_port_without_it_gets_a_sentence(refused: Refusal, authority: Authority) -> None:
    """Both ends say which settings to change."""
    with serving() as served:
        assert "speaks no TLS. Set DISTQ_TLS_CERT" in refused(served, authority.client, "localhost")
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert "it speaks TLS, which this port does not" in served.handler.reasons[0]


@pytest.mark.parametrize("refused", [refused_blocking, refused_async])
def test_a_master_with_tls_1_2_only_is_refused(
    refused: Refusal, files: TlsFiles, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that it offers no TLS 1.3."""
    tls = ServerTls(files)
    context = tls.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    monkeypatch.setattr(tls, "context", lambda: context)
    with serving(tls=tls) as served:
        assert "offers no TLS 1.3" in refused(served, authority.client, "localhost")


def test_a_client_with_tls_1_2_only_is_refused_with_a_reason(files: TlsFiles, authority: Authority) -> None:
    """The master's log says that the peer offers no TLS 1.3."""
    context = client_context(authority.client)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(tls=ServerTls(files)) as served, served.connect() as peer:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer.socket, server_hostname="localhost")
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert "it offers no TLS 1.3" in served.handler.reasons[0]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, os.urandom(4096)])
def test_bytes_that_are_no_tls_end_the_connection(files: TlsFiles, authority: Authority, garbage: bytes) -> None:
    """The server closes immediately, logs a reason, and serves other peers meanwhile."""
    with serving(tls=ServerTls(files)) as served, served.connect() as peer:
        inside = connect(served, authority.client)
        peer.socket.sendall(garbage)
        assert peer.ends()
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert inside.call("thing", "echo", (1,), timeout_s=SOON_S) == (1,)
        inside.close()


def test_a_peer_without_a_certificate_is_refused_where_one_is_required(files: TlsFiles, authority: Authority) -> None:
    """With DISTQ_TLS_VERIFY_CLIENTS the client's error and the master's log name the settings of the certificate."""
    with serving(tls=ServerTls(files, verify_clients=True)) as served:
        for refused in (refused_blocking, refused_async):
            assert "Set DISTQ_TLS_CERT and DISTQ_TLS_KEY" in refused(served, authority.client, "localhost")
        served.eventually(lambda: len(served.handler.reasons) == 2)
        assert "it presents no certificate" in served.handler.reasons[0]


def test_a_certificate_of_another_ca_is_refused_at_the_master(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    """The client learns that the master's CA has not signed its certificate."""
    theirs = Authority(tmp_path).issue("worker-1")
    with serving(tls=ServerTls(files, verify_clients=True)) as served:
        text = refused_blocking(served, TlsFiles(theirs.cert, theirs.key, authority.cert), "localhost")
        assert "own DISTQ_TLS_CA has not signed it" in text
        served.eventually(lambda: len(served.handler.reasons) == 1)
        assert "its certificate is not accepted" in served.handler.reasons[0]


def test_the_name_of_a_verified_peer_is_in_its_address_for_logs(files: TlsFiles, authority: Authority) -> None:
    """The master reports the certificate's common name once for each connection."""
    verified: list[tuple[str, str]] = []
    ours = authority.issue("worker-1")
    tls = ServerTls(files, verify_clients=True, on_verified=lambda peer, name: verified.append((peer, name)))
    with serving(tls=tls) as served:
        connection = connect(served, TlsFiles(ours.cert, ours.key, authority.cert))
        assert connection.call("thing", "echo", (1,), timeout_s=SOON_S) == (1,)
        (found,) = served.server.connections
        assert [name for _, name in verified] == ["worker-1"]
        assert found.peer == f"{verified[0][0]} (worker-1)"
        connection.close()


def test_a_second_port_on_loopback_takes_connections_without_tls(files: TlsFiles, authority: Authority) -> None:
    """Programs of the standard library use it; the other port goes on with TLS."""
    with serving(tls=ServerTls(files)) as served:
        start = served.server.start(Address("127.0.0.1", 0), without_tls=True)
        plain = asyncio.run_coroutine_threadsafe(start, served.loop).result(SOON_S)
        with multiprocessing.connection.Client((plain.host, plain.port), authkey=KEY):
            pass
        connection = connect(served, authority.client)
        assert connection.call("thing", "echo", (1,), timeout_s=SOON_S) == (1,)
        connection.close()


def test_a_new_certificate_is_used_without_a_lost_connection(tmp_path: Path, authority: Authority) -> None:
    """A Secret's folder changes as the kubelet changes it: a symbolic link moves to another folder."""
    reloads: list[str | None] = []
    mount = tmp_path / "mount"
    mount.mkdir()
    fill(tmp_path / "first", authority.server("localhost"))
    fill(tmp_path / "second", authority.server("127.0.0.1"))
    (mount / "..data").symlink_to(tmp_path / "first")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(Path("..data") / name)
    files = TlsFiles(str(mount / "tls.crt"), str(mount / "tls.key"), None)
    with serving(tls=ServerTls(files, on_reload=reloads.append)) as served:
        old = connect(served, authority.client)
        (mount / "..new").symlink_to(tmp_path / "second")
        (mount / "..new").rename(mount / "..data")
        new = connect(served, authority.client, "127.0.0.1")
        for connection in (old, new):
            assert connection.call("thing", "echo", (1,), timeout_s=SOON_S) == (1,)
            connection.close()
    assert reloads == [None]


def test_files_that_do_not_fit_together_leave_the_old_certificate_in_use(tmp_path: Path, authority: Authority) -> None:
    """A tool that writes the certificate first and the key later costs no connection; each change is logged once."""
    reloads: list[str | None] = []
    present, later = authority.issue("localhost"), authority.issue("127.0.0.1", "localhost")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert.write_bytes(Path(present.cert).read_bytes())
    key.write_bytes(Path(present.key).read_bytes())
    with serving(tls=ServerTls(TlsFiles(str(cert), str(key), None), on_reload=reloads.append)) as served:
        cert.write_bytes(Path(later.cert).read_bytes())
        for _ in range(2):
            connect(served, authority.client).close()
        assert len(reloads) == 1
        assert "does not belong to the certificate" in str(reloads[0])
        key.write_bytes(Path(later.key).read_bytes())
        connect(served, authority.client, "127.0.0.1").close()
        assert reloads[1:] == [None]


def unusable(files: TlsFiles) -> str:
    """Return why a server cannot use the files."""
    with pytest.raises(TlsUnusable) as caught:
        ServerTls(files, verify_clients=files.ca is not None)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_files_that_cannot_be_used_are_sentences(tmp_path: Path, files: TlsFiles, authority: Authority) -> None:
    """Each names the setting, the path and what to do."""
    other = authority.issue("other.example")
    missing, text = str(tmp_path / "missing"), tmp_path / "text"
    text.write_text("no PEM")
    assert f"DISTQ_TLS_KEY is {missing}, which cannot be read" in unusable(files._replace(key=missing))
    assert f"DISTQ_TLS_CERT is {tmp_path}, which cannot be read" in unusable(files._replace(cert=str(tmp_path)))
    os.mkfifo(tmp_path / "pipe")
    assert "pipe, which is no regular file" in unusable(files._replace(cert=str(tmp_path / "pipe")))
    assert "does not belong to the certificate" in unusable(files._replace(key=other.key))
    assert "are no certificate and key in PEM" in unusable(files._replace(cert=str(text)))
    assert "holds no certificate in PEM" in unusable(files._replace(ca=str(text)))
    with pytest.raises(TlsUnusable, match=r"DISTQ_TLS_CA is .*missing, which cannot be read by user"):
        dial([("localhost", 1)], KEY, timeout_s=1, tls=TlsFiles(None, None, missing))


def test_an_encrypted_key_asks_for_no_password(tmp_path: Path, files: TlsFiles) -> None:
    """A service has no terminal: the error says how to make a key without a password."""
    sealed = str(tmp_path / "sealed.key")
    run("pkey", "-in", str(files.key), "-aes256", "-passout", "pass:secret", "-out", sealed)
    assert "is encrypted" in unusable(files._replace(key=sealed))


def test_an_unreachable_master_is_no_failure_of_tls(authority: Authority) -> None:
    """A client with TLS tries again, as one without, while no master listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CannotReach):
            dial([("localhost", taken.getsockname()[1])], KEY, timeout_s=1, tls=authority.client)


def test_a_name_that_no_certificate_can_have_is_a_sentence(authority: Authority) -> None:
    """The error names DISTQ_ADDRESS."""
    with pytest.raises(DistqError, match="DISTQ_ADDRESS"):
        dial([(".local", 1)], KEY, timeout_s=1, tls=authority.client)


def test_handshakes_that_break_off_leave_nothing_behind(files: TlsFiles, authority: Authority) -> None:
    """Connections that break off within the handshake are removed like others."""
    with serving(tls=ServerTls(files)) as served:
        for _ in range(200):
            with served.connect() as peer:
                peer.socket.sendall(b"\x16\x03\x01\x02\x00\x01")
        served.eventually(lambda: not served.server.connections)
        assert len(served.server.unauthenticated) == 0
        connect(served, authority.client).close()


def fill(folder: Path, files: TlsFiles) -> None:
    """Write a certificate and its key into a new folder, by the names of a Kubernetes Secret."""
    folder.mkdir()
    (folder / "tls.crt").write_bytes(Path(str(files.cert)).read_bytes())
    (folder / "tls.key").write_bytes(Path(str(files.key)).read_bytes())


@contextmanager
def relayed(address: Address, chunk_bytes: int) -> Iterator[int]:
    """A port that passes bytes on in small pieces, each in a packet of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay() -> None:
            near, _ = listener.accept()
            far = socket.create_connection(address)
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join()
            near.close()
            far.close()

        def pump(source: socket.socket, target: socket.socket) -> None:
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                while data := source.recv(chunk_bytes):
                    target.sendall(data)
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=relay)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(SOON_S)
        eventually(lambda: not thread.is_alive())


def test_a_certificate_that_changes_again_at_once_is_read_again(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two certificates of one size, written within one step of the file system's clock, leave the same stamp."""
    monkeypatch.setattr(tls_context, "stamp_of", lambda _path: (1, 2, 3, 4, 5))
    monkeypatch.setattr(tls_context, "is_fresh", lambda _stamp: True)
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    reloads: list[str | None] = []
    first, later = authority.issue("localhost"), authority.issue("127.0.0.1")
    cert.write_bytes(Path(first.cert).read_bytes())
    key.write_bytes(Path(first.key).read_bytes())
    tls = ServerTls(TlsFiles(str(cert), str(key), None), on_reload=reloads.append)
    cert.write_bytes(Path(later.cert).read_bytes())
    key.write_bytes(Path(later.key).read_bytes())
    with serving(tls=tls) as served:
        for _ in range(2):
            connect(served, authority.client, "127.0.0.1").close()
    assert reloads == []
