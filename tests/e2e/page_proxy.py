"""A reverse proxy for tests of the page: it ends TLS, strips a prefix, and may add headers, as nginx does."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from distq.net.tls_files import TlsFiles

PREFIX: Final = "/distq"
"""What the proxy removes from the path of each request."""
OWN: Final = ("connection", "authorization", "x-forwarded-user")
"""Headers that a browser cannot send through the proxy."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def proxy(http_port: int, files: TlsFiles, headers: Mapping[str, str] = {}) -> Iterator[str]:
    """Yield the URL of the page behind a proxy that passes one request of each connection on to a master."""
    assert files.cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as browser:
                head, _, rest = _head_of(browser).partition(b"\r\n\r\n")
                with socket.create_connection(("127.0.0.1", http_port)) as master:
                    master.sendall(_passed(head.decode("latin-1"), headers) + rest)
                    threading.Thread(target=_copy, args=(browser, master), daemon=True).start()
                    _copy(master, browser)

    with _Server(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"https://localhost:{server.server_address[1]}{PREFIX}/"
        finally:
            server.shutdown()
            serving.join()


def _head_of(browser: ssl.SSLSocket) -> bytes:
    """Read until the end of a request's head; raises OSError if the browser closes the connection before."""
    read = b""
    while b"\r\n\r\n" not in read:
        part = browser.recv(65536)
        if not part:
            raise ConnectionResetError
        read += part
    return read


def _passed(head: str, headers: Mapping[str, str]) -> bytes:
    first, *lines = head.split("\r\n")
    method, path, version = first.split(" ")
    kept = [line for line in lines if line.partition(":")[0].lower() not in OWN]
    added = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(
        [f"{method} {path.removeprefix(PREFIX)} {version}", *kept, *added, "Connection: close", "", ""]
    ).encode()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_RDWR)
