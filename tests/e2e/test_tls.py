"""A cluster with TLS, as real processes: master, workers of both kinds, clients, commands, HTTP."""

import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.submitting import waits
from tests.net.certificates import Authority, settings_of
from tests.waiting import SOON_S

from distq import Client
from distq.net.tls_files import TlsFiles
from distq.settings import Role, load


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the module's clusters."""
    return Authority(tmp_path_factory.mktemp("tls"))


def client_of(grid: Cluster, files: TlsFiles) -> Client:
    """Return a client with TLS."""
    environ = {"DISTQ_ADDRESS": f"localhost:{grid.port}", "DISTQ_AUTHKEY": KEY, **settings_of(files)}
    return Client(settings=load(environ, Role.CLIENT).settings)


def peer_settings(grid: Cluster, files: TlsFiles) -> dict[str, str]:
    """Return the settings of a worker or a command with TLS."""
    return {"DISTQ_ADDRESS": f"localhost:{grid.port}", **settings_of(files)}


@pytest.mark.parametrize(("executor", "name"), [("process", "masters.example"), ("thread", None)])
def test_tasks_run_in_a_cluster_with_tls(grid: Cluster, authority: Authority, executor: str, name: str | None) -> None:
    """Results of every size come back, and a task that submits a task connects with TLS and the same name too."""
    grid.master(**settings_of(authority.server(name or "localhost")._replace(ca=None)))
    files = authority.client._replace(server_name=name)
    peer = peer_settings(grid, files)
    grid.run("worker", "tests.e2e.submitting", "--concurrency", "2", DISTQ_EXECUTOR=executor, **peer)
    with client_of(grid, files) as client:
        assert list(client.map(abs, range(-500, 0))) == list(range(500, 0, -1))
        assert client.submit(bytes, 3 << 20).result(SOON_S) == bytes(3 << 20)
        assert client.submit(waits, 20).result(SOON_S) == 21
    status = grid.run("status", **peer)
    assert status.ends() == 0, status.text


def test_the_log_has_the_names_of_the_certificates_of_verified_clients(grid: Cluster, authority: Authority) -> None:
    """A worker without a certificate ends with a sentence; one with a certificate runs tasks."""
    master = grid.master(DISTQ_TLS_VERIFY_CLIENTS="1", **settings_of(authority.server()))
    unnamed = grid.tasks(1, **peer_settings(grid, authority.client))
    assert unnamed.ends() == 3
    assert "It requires a certificate of this program. Set DISTQ_TLS_CERT" in unnamed.text
    assert "Traceback" not in unnamed.text
    worker, program = authority.issue("worker-1"), authority.issue("billing")
    grid.tasks(1, **peer_settings(grid, TlsFiles(worker.cert, worker.key, authority.cert)))
    with client_of(grid, TlsFiles(program.cert, program.key, authority.cert)) as client:
        assert client.submit(abs, -1).result(SOON_S) == 1
    master.logs("peer_verified", certificate="worker-1")
    master.logs("peer_verified", certificate="billing")
    master.logs("peer_turned_away")


def test_a_worker_with_the_wrong_ca_or_without_one_ends_with_a_sentence(
    grid: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """No worker tries again silently for ever: the error says what to set."""
    grid.master(**settings_of(authority.server()._replace(ca=None)))
    wrong = grid.tasks(1, **peer_settings(grid, Authority(tmp_path).client))
    without = grid.tasks(1)
    for worker, text in ((wrong, "DISTQ_TLS_CA has not signed its certificate"), (without, "Set DISTQ_TLS_CA")):
        assert worker.ends() == 3, worker.text
        assert text in worker.text
        assert "Traceback" not in worker.text


def test_a_worker_and_a_client_with_tls_end_at_a_master_without_it(grid: Cluster, authority: Authority) -> None:
    """The error says that the master has no TLS, and a client's first call raises it."""
    grid.master()
    worker = grid.tasks(1, **peer_settings(grid, authority.client))
    command = grid.run("status", **peer_settings(grid, authority.client))
    for process in (worker, command):
        assert process.ends() == 3, process.text
        assert "speaks no TLS. Set DISTQ_TLS_CERT" in process.text
    with client_of(grid, authority.client) as client, pytest.raises(Exception, match="speaks no TLS"):
        client.submit(abs, -1).result(SOON_S)


def test_files_that_cannot_be_used_end_master_and_worker_with_a_sentence(
    grid: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """The exit code is that of wrong settings, and there is no traceback."""
    files = authority.server()
    other = authority.issue("other.example")
    text = tmp_path / "text"
    text.write_text("no PEM")
    for process, sentence in (
        (grid.run("master", **settings_of(files._replace(key=other.key))), "does not belong to the certificate"),
        (grid.run("master", **settings_of(files._replace(key="/missing"))), "DISTQ_TLS_KEY is /missing"),
        (grid.tasks(1, DISTQ_TLS_CA=str(text)), "holds no certificate in PEM"),
        (grid.run("status", DISTQ_TLS_CA="/missing"), "DISTQ_TLS_CA is /missing"),
    ):
        assert process.ends() == 2, process.text
        assert sentence in process.text
        assert "Traceback" not in process.text


def test_http_of_master_and_worker_uses_the_certificate(grid: Cluster, authority: Authority) -> None:
    """`distq health` finds the process ready; a scraper that knows the CA reads the metrics."""
    master = grid.master(
        DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}", **settings_of(authority.server()._replace(ca=None))
    )
    master.logs("http_listened", tls=True)
    context = ssl.create_default_context(cafile=authority.cert)
    url = f"https://localhost:{grid.http_port}/metrics"
    with urllib.request.urlopen(url, timeout=SOON_S, context=context) as answer:
        assert b"distq_build_info" in answer.read()
    health = grid.run(
        "health",
        DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}",
        **settings_of(authority.server()._replace(ca=None)),
    )
    assert health.ends() == 0, health.text
    plain = grid.run("health", DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}")
    assert plain.ends() == 1
    assert "does not answer" in plain.text
    certificate = authority.issue("worker-1", "localhost")
    worker = grid.tasks(
        1,
        DISTQ_HTTP_ADDRESS="127.0.0.1:0",
        **peer_settings(grid, TlsFiles(certificate.cert, certificate.key, authority.cert)),
    )
    (listened,) = worker.logs("http_listened", tls=True)
    port = str(listened["address"]).rpartition(":")[2]
    with urllib.request.urlopen(f"https://localhost:{port}/livez", timeout=SOON_S, context=context) as answer:
        assert answer.read() == b"alive\n"


def test_http_without_tls_beside_a_master_with_tls(grid: Cluster, authority: Authority) -> None:
    """DISTQ_HTTP_TLS=0 is for probes and scrapers that have no CA."""
    http = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}", "DISTQ_HTTP_TLS": "0"}
    files = settings_of(authority.server()._replace(ca=None))
    grid.master(**http, **files).logs("http_listened", tls=False)
    with urllib.request.urlopen(f"http://127.0.0.1:{grid.http_port}/livez", timeout=SOON_S) as answer:
        assert answer.read() == b"alive\n"
    health = grid.run("health", **http, **files)
    assert health.ends() == 0, health.text


def test_a_new_certificate_is_logged_and_costs_no_connection(
    grid: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """A worker keeps its connections while the master's files change; new connections see the new certificate."""
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for path, source in ((cert, authority.server().cert), (key, authority.server().key)):
        path.write_bytes(Path(str(source)).read_bytes())
    master = grid.master(DISTQ_TLS_CERT=str(cert), DISTQ_TLS_KEY=str(key))
    worker = grid.tasks(1, **peer_settings(grid, authority.client))
    worker.executors(1)
    with client_of(grid, authority.client) as client:
        assert client.submit(abs, -1).result(SOON_S) == 1
        newer = authority.issue("localhost", "new.example")
        for path, source in ((key, newer.key), (cert, newer.cert)):
            path.with_suffix(".new").write_bytes(Path(source).read_bytes())
            path.with_suffix(".new").replace(path)
        assert grid.run("status", **peer_settings(grid, authority.client)).ends() == 0
        master.logs("tls_reloaded", port="master")
        assert client.submit(abs, -2).result(SOON_S) == 2
    assert worker.events("master_lost") == []


def test_programs_of_the_standard_library_use_the_port_on_loopback(grid: Cluster, authority: Authority) -> None:
    """At the port with TLS their error names `distq tunnel`; at DISTQ_LOOPBACK_BIND they work."""
    files = settings_of(authority.server()._replace(ca=None))
    master = grid.master(DISTQ_LOOPBACK_BIND="127.0.0.1:0", **files)
    (listened,) = master.logs("master_listened", tls=True)
    port = str(listened["loopback"]).rpartition(":")[2]
    program = (
        "import sys\n"
        "from multiprocessing.managers import BaseManager\n"
        "class Queues(BaseManager): pass\n"
        "Queues.register('get_work_queue')\n"
        "manager = Queues(('127.0.0.1', int(sys.argv[1])), sys.argv[2].encode())\n"
        "manager.connect()\n"
        "queue = manager.get_work_queue()\n"
        "queue.put(7)\n"
        "print(queue.get(timeout=10))\n"
    )
    works = subprocess.run([sys.executable, "-c", program, port, KEY], capture_output=True, text=True, check=False)
    assert works.stdout == "7\n", works.stderr
    fails = subprocess.run(
        [sys.executable, "-c", program, str(grid.port), KEY], capture_output=True, text=True, check=False
    )
    assert "distq tunnel" in fails.stderr
