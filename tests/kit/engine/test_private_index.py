"""Builds from a package index behind a private CA and a password: both are build secrets, and in no layer."""

import base64
import hashlib
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.kit.shell import BASE_PYTHON, VERSION, fails, run
from tests.tidy.tree import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine"), pytest.mark.timeout(600)]

USER, PASSWORD = "builder", "a-password-of-the-tests"
IMAGE = "distq-test-private-index:1"
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")
TOOLS = ("uv", "hatchling")
"""The packages that a build needs besides the lock file: the installer, and the project's build backend."""


class Index:
    """A folder of wheels as a package index (PEP 503), and the requests that it got."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path for path in folder.iterdir()}
        self.requested: list[str] = []

    def page(self, project: str) -> str:
        """Return the page with the links of one project."""
        links = []
        for name, path in self.files.items():
            if re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower() == project:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                links.append(f'<a href="/files/{name}#sha256={digest}">{name}</a>')
        return "<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>"


def handler_of(index: Index) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers requests for the index only with the password."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        """The handler of one request."""

        def do_GET(self) -> None:
            """Answer with a page of links, or a wheel."""
            if self.headers.get("Authorization") != wanted:
                self._reply(401, b"", ("WWW-Authenticate", 'Basic realm="index"'))
                return
            _, kind, name, *_ = [*self.path.split("/"), ""]
            index.requested.append(name)
            if kind == "simple":
                self._reply(200, index.page(name).encode(), ("Content-Type", "text/html"))
            elif name in index.files:
                self._reply(200, index.files[name].read_bytes(), ("Content-Type", "application/octet-stream"))
            else:
                self._reply(404, b"")

        def _reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, text in (*headers, ("Content-Length", str(len(body)))):
                self.send_header(name, text)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as http.server wants it

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def serving(index: Index, certificate: Path, key: Path) -> Iterator[int]:
    """Serve the index over TLS; yield its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(index))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wheels(folder: Path) -> Path:
    """Return a folder with all wheels of a build for the Python of the base image."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    download += ["--python-version", BASE_PYTHON, "--implementation", "cp", "--dest", str(folder)]
    download += [option for platform in PLATFORMS for option in ("--platform", platform)]
    run(*download, "--no-deps", "--require-hashes", "-r", "requirements.lock", "-r", "images/init.lock")
    run(*download, *TOOLS)
    return folder


def certified(folder: Path) -> tuple[Path, Path, Path]:
    """Return a certificate authority, and a certificate and key of a server called localhost."""
    paths = {name: folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key", "server.csr", "names")}
    paths["names"].write_text("subjectAltName=DNS:localhost\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    run(*new, "-x509", "-subj", "/CN=authority", "-keyout", paths["ca.key"], "-out", paths["ca.pem"])
    run(*new, "-subj", "/CN=localhost", "-keyout", paths["server.key"], "-out", paths["server.csr"])
    signed: list[str | Path] = [
        "openssl",
        "x509",
        "-req",
        "-in",
        paths["server.csr"],
        "-CA",
        paths["ca.pem"],
        "-CAkey",
        paths["ca.key"],
    ]
    run(*signed, "-CAcreateserial", "-extfile", paths["names"], "-out", paths["server.pem"])
    return paths["ca.pem"], paths["server.pem"], paths["server.key"]


def test_an_image_is_built_from_an_index_behind_a_private_ca(tmp_path: Path) -> None:
    """With both secrets the build uses only this index; without the CA it fails; no layer contains the password."""
    authority, certificate, key = certified(tmp_path)
    index = Index(wheels(tmp_path / "wheels"))
    with serving(index, certificate, key) as port:
        url = tmp_path / "index_url"
        url.write_text(f"https://{USER}:{PASSWORD}@localhost:{port}/simple")
        build = [
            "docker",
            "build",
            "--progress",
            "plain",
            "--no-cache",
            "--network",
            "host",
            "--file",
            "images/Dockerfile",
        ]
        build += ["--tag", IMAGE, "--target", "worker", "--secret", f"id=index_url,src={url}"]
        output = fails(*build, ".")
        assert "certificate" in output.lower()
        assert not index.requested
        try:
            run(*build, "--secret", f"id=index_ca,src={authority}", ".")
            assert {"uv", "structlog", "uvloop", "hatchling"} <= set(index.requested)
            assert run("docker", "run", "--rm", IMAGE, "--version").strip() == f"distq {VERSION}"
            assert PASSWORD not in run("docker", "history", "--no-trunc", IMAGE)
            with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as save:
                found = subprocess.run(["grep", "-c", PASSWORD], stdin=save.stdout, capture_output=True, check=False)
            assert found.stdout.split() == [b"0"]
        finally:
            run("docker", "rmi", "--force", IMAGE)


def test_bake_builds_all_images_and_plans_a_release_for_two_platforms() -> None:
    """`docker buildx bake` builds the three, `bake minimal` their variant, and `bake release` plans all six."""
    run("docker", "buildx", "bake")
    run("docker", "buildx", "bake", "minimal")
    plan = run("docker", "buildx", "bake", "--print", "release", REGISTRY="registry.example/")
    for wanted in ("linux/amd64", "linux/arm64", "type=sbom", "type=provenance,mode=max"):
        assert plan.count(wanted) == 6, wanted
    for image in ("distq-master", "distq-master-postgresql", "distq-worker"):
        assert f'"registry.example/{image}:{VERSION}"' in plan
        assert f'"registry.example/{image}:{VERSION}-minimal"' in plan
    assert f'default = "{VERSION}"' in (ROOT / "docker-bake.hcl").read_text(encoding="utf-8")
