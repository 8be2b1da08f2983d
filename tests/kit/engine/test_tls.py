"""TLS in Compose: connections, HTTP, Prometheus, and a certificate that is replaced while tasks run."""

import ssl
import urllib.request
from pathlib import Path

import pytest
from tests.kit.engine.stack import ON_IMAGES, Stack, stack
from tests.kit.shell import wait_for_value

import distq
from distq.cli.app import run as distq_command
from distq.demo import tasks as demo_tasks
from distq.settings import Role, load

pytestmark = ON_IMAGES


def make_certificates(folder: Path, *options: str) -> None:
    """Make certificates that the user of the containers can read, whatever user runs the test."""
    assert distq_command(["tls", "init", str(folder), "--host", "master", *options]) == 0
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def client_of(project: Stack, folder: Path) -> distq.Client:
    """Return a client of the published port that knows the CA."""
    known = {"DISTQ_ADDRESS": project.address("master", 9000), "DISTQ_AUTHKEY": project.authkey()}
    return distq.Client(settings=load({**known, "DISTQ_TLS_CA": str(folder / "ca.crt")}, Role.CLIENT).settings)


def served_certificate(project: Stack) -> list[str]:
    """Return the certificate that the published port presents, as lines of PEM."""
    host, port = project.address("master", 9000).split(":")
    return ssl.get_server_certificate((host, int(port))).split()


def scrapes(project: Stack) -> dict[str, tuple[str, str]]:
    """Return scheme and health of each job of Prometheus."""
    found = project.prometheus("targets")["activeTargets"]
    return {one["labels"]["job"]: (one["scrapeUrl"].partition(":")[0], one["health"]) for one in found}


def connections_made(project: Stack) -> int:
    """Return how often the workers have connected."""
    return project.compose("logs", "worker").count('"event": "master_connected"')


def test_a_cluster_with_tls_in_compose(tmp_path: Path) -> None:
    """Clients outside and inside, HTTP and Prometheus use the CA; a new certificate costs no connection."""
    folder = tmp_path / "tls"
    make_certificates(folder)
    with stack(TLS_FOLDER=str(folder)) as project:
        project.up("master", "worker", "prometheus", scale=1)
        with client_of(project, folder) as client:
            assert client.submit(demo_tasks.square, 7).result(60) == (7, 49)
            assert "square(2) is 4" in project.compose("run", "--rm", "client")
            with project.client() as plain, pytest.raises(distq.DistqError, match="accepts only TLS"):
                plain.submit(demo_tasks.square, 1).result(60)

            url = f"https://{project.address('master', 9001)}/metrics"
            context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                assert b"distq_workers" in answer.read()
            with pytest.raises(OSError, match=r"."):
                urllib.request.urlopen(url.replace("https", "http"), timeout=10)
            up = {"distq-master": ("https", "up"), "distq-worker": ("https", "up")}
            wait_for_value(lambda: scrapes(project), lambda found: found == up, 60)

            before, made = served_certificate(project), connections_made(project)
            make_certificates(folder, "--renew")
            new = (folder / "master.crt").read_text().split()
            assert new != before
            wait_for_value(lambda: served_certificate(project), lambda found: found == new, 30)
            assert client.submit(demo_tasks.square, 8).result(60) == (8, 64)
            assert connections_made(project) == made == 1
