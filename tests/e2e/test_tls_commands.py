"""`distq tls init` and `distq tunnel`, with a real cluster."""

import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster, Process
from tests.net.certificates import Authority, settings_of
from tests.waiting import SOON_S, eventually

from distq import Client
from distq.net.tls_files import TlsFiles
from distq.settings import Role, load

PROGRAM = """\
import sys
from multiprocessing.managers import BaseManager
class Queues(BaseManager): pass
Queues.register('get_work_queue')
manager = Queues(('127.0.0.1', int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
queue = manager.get_work_queue()
"""
"""A program of the standard library, which is connected."""
MB = 1 << 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of the test's cluster."""
    return Authority(tmp_path)


def run_program(port: int, code: str) -> str:
    """Run a program of the standard library to its end; return its output."""
    arguments = [sys.executable, "-c", PROGRAM + code, str(port), KEY]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tunnel_of(grid: Cluster, files: TlsFiles) -> tuple[Process, int]:
    """Start a tunnel; return it and its port."""
    tunnel = grid.run("tunnel", "--listen", "127.0.0.1:0", DISTQ_ADDRESS=f"localhost:{grid.port}", **settings_of(files))
    eventually(lambda: "the tunnel leads to" in tunnel.text, "the tunnel", lambda: tunnel.text)
    found = re.search(r"127\.0\.0\.1:(\d+)", tunnel.text)
    assert found is not None
    return tunnel, int(found[1])


def test_a_program_of_the_standard_library_works_through_a_tunnel(grid: Cluster, authority: Authority) -> None:
    """Items larger than the buffers between pass in both directions; the program's proof of the key passes too."""
    grid.master(**settings_of(authority.server()._replace(ca=None)))
    tunnel, port = tunnel_of(grid, authority.client)
    big = f"queue.put(bytes({8 * MB})); print(len(queue.get(timeout=30)))"
    assert run_program(port, big) == f"{8 * MB}\n"
    tunnel.signal(signal.SIGTERM)
    assert tunnel.ends() == 0
    assert "Traceback" not in tunnel.text


def test_the_item_of_a_program_that_dies_behind_a_tunnel_goes_to_another(grid: Cluster, authority: Authority) -> None:
    """The tunnel ends its connection to the master when the program's own has ended."""
    grid.master(**settings_of(authority.server()._replace(ca=None)))
    _, port = tunnel_of(grid, authority.client)
    run_program(port, "queue.put('precious')")
    code = "import os; queue.get(timeout=10); print('taken', flush=True); os.kill(os.getpid(), 9)"
    arguments = [sys.executable, "-c", PROGRAM + code, str(port), KEY]
    killed = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert killed.stdout == "taken\n"
    assert run_program(port, "print(queue.get(timeout=10))") == "precious\n"


def test_a_tunnel_that_cannot_work_says_why(grid: Cluster, authority: Authority, tmp_path: Path) -> None:
    """It ends with a sentence, unless only the master is missing: that may come later."""
    grid.master(**settings_of(authority.server()._replace(ca=None)))
    address = {"DISTQ_ADDRESS": f"localhost:{grid.port}"}
    wrong = grid.run("tunnel", **address, **settings_of(Authority(tmp_path, "another").client))
    without = grid.run("tunnel", **address)
    public = grid.run("tunnel", "--listen", "0.0.0.0:9002", **address, **settings_of(authority.client))
    taken = grid.run("tunnel", "--listen", f"127.0.0.1:{grid.port}", **address, **settings_of(authority.client))
    for process, code, text in (
        (taken, 2, "choose another address with --listen"),
        (wrong, 3, "DISTQ_TLS_CA has not signed its certificate"),
        (without, 2, "DISTQ_TLS_CA is not set"),
        (public, 2, "is not on loopback"),
    ):
        assert process.ends() == code, process.text
        assert text in process.text
        assert "Traceback" not in process.text


def test_a_tunnel_waits_for_its_master(grid: Cluster, authority: Authority) -> None:
    """It warns at its start, and for each connection; once the master listens, connections pass."""
    tunnel, port = tunnel_of(grid, authority.client)
    assert "tries again for each connection" in tunnel.text
    failing = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(port), KEY], capture_output=True, check=False, timeout=60
    )
    assert failing.returncode == 1
    eventually(lambda: tunnel.text.count("cannot be reached") == 2, "two warnings", lambda: tunnel.text)
    grid.master(**settings_of(authority.server()._replace(ca=None)))
    assert run_program(port, "queue.put(7); print(queue.get(timeout=10))") == "7\n"


def test_tls_init_makes_what_a_cluster_on_this_machine_needs(grid: Cluster, tmp_path: Path) -> None:
    """The printed settings suffice for master, worker and client; strict clients of HTTP accept the certificate."""
    folder = tmp_path / "tls"
    init = grid.run("tls", "init", str(folder), "--host", "queue.example")
    assert init.ends() == 0, init.text
    printed = dict(line.split("=", 1) for line in init.text.splitlines() if line.startswith("DISTQ_"))
    assert sorted(printed) == ["DISTQ_TLS_CA", "DISTQ_TLS_CERT", "DISTQ_TLS_KEY"]
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    http = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}"}
    grid.master(DISTQ_TLS_VERIFY_CLIENTS="1", **http, **printed).logs("http_listened")
    grid.tasks(1, **printed)
    named = {"DISTQ_TLS_CERT": str(folder / "client.crt"), "DISTQ_TLS_KEY": str(folder / "client.key")}
    environ = {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY, **printed, **named}
    with Client(settings=load(environ, Role.CLIENT).settings) as client:
        assert client.submit(abs, -1).result(SOON_S) == 1
    context = ssl.create_default_context(cafile=printed["DISTQ_TLS_CA"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with urllib.request.urlopen(f"https://127.0.0.1:{grid.http_port}/livez", timeout=SOON_S, context=context) as answer:
        assert answer.read() == b"alive\n"


def test_tls_init_replaces_nothing_unless_asked(grid: Cluster, tmp_path: Path) -> None:
    """A second run is an error; with --renew the CA stays, and a running master uses the new certificates."""
    folder = tmp_path / "tls"

    def init(*options: str) -> Process:
        process = grid.run("tls", "init", str(folder), *options)
        process.ends()
        return process

    missing = init("--renew")
    assert missing.ends() == 1
    assert "has no ca.crt and no ca.key" in missing.text
    made = init()
    printed = dict(line.split("=", 1) for line in made.text.splitlines() if line.startswith("DISTQ_"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = init()
    assert again.ends() == 1
    assert "has ca.crt, ca.key, master.crt, master.key, client.crt, client.key already" in again.text
    master = grid.master(**printed)
    assert init("--renew").ends() == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {
        f"{stem}.{end}" for stem in ("master", "client") for end in ("crt", "key")
    }
    assert after.keys() == before.keys()
    assert grid.run("status", **printed).ends() == 0
    master.logs("tls_reloaded")


def test_tls_init_keeps_the_names_of_a_certificate_that_it_renews(grid: Cluster, tmp_path: Path) -> None:
    """A renewal locks no peer out; and the printed paths can be read from .env, whatever they contain."""
    folder = tmp_path / "of #us"
    assert grid.run("tls", "init", str(folder), "--host", "queue.example", "--host", "fe80::1").ends() == 0
    renewed = grid.run("tls", "init", str(folder), "--renew", "--host", "other.example")
    assert renewed.ends() == 0
    for _ in range(2):
        assert "localhost, 127.0.0.1, ::1, queue.example, fe80::1, other.example, for" in renewed.text
        renewed = grid.run("tls", "init", str(folder), "--renew")
        assert renewed.ends() == 0
    assert f"DISTQ_TLS_CA='{folder}/ca.crt'" in renewed.text


@pytest.mark.parametrize(
    ("prepare", "options", "text"),
    [
        (lambda _: None, ("--host", "a,b"), "is no host name"),
        (lambda _: None, ("--host=-x",), "is no host name"),
        (lambda _: None, ("--host", "fe80::1%eth0"), "has a zone"),
        (lambda _: None, ("--days", "9000"), "9000"),
        (lambda folder: folder.parent.joinpath("tls").write_text("a file"), (), "is a file"),
    ],
    ids=["host", "option", "zone", "days", "file"],
)
def test_tls_init_with_wrong_arguments_is_a_sentence(
    grid: Cluster, tmp_path: Path, prepare: Callable[[Path], object], options: tuple[str, ...], text: str
) -> None:
    """Nothing is made."""
    prepare(tmp_path / "tls")
    failed = grid.run("tls", "init", str(tmp_path / "tls"), *options)
    assert failed.ends() == 2, failed.text
    assert text in failed.text
    assert not (tmp_path / "tls").is_dir()


def test_tls_init_without_openssl_says_what_to_install(grid: Cluster, tmp_path: Path) -> None:
    """The folder stays empty."""
    failed = grid.run("tls", "init", str(tmp_path / "tls"), PATH=str(tmp_path))
    assert failed.ends() == 1, failed.text
    assert "The program openssl is not installed" in failed.text
    assert list((tmp_path / "tls").iterdir()) == []
