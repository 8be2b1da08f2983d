"""Tests of a release with three masters on a PostgreSQL database: hand-overs disturb no client.

The release has TLS, and images without a shell.

As in test_cluster, the tests use the current `kubectl` context. `.ci/run` builds and loads the images.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.cluster.release import CLIENT_LABEL, Release, namespace
from tests.kit.shell import wait_for_value

from distq.cli.app import run as distq

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]

MASTERS = "app.kubernetes.io/component=master"
WORKERS = "app.kubernetes.io/component=worker"
SERVED = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 9000)))"
PLAIN = """
import distq

try:
    distq.Client().submit_named("square", [2]).result(60)
except distq.DistqError as error:
    print(error)
"""
DATABASE = """
bin=$(ls -d /usr/lib/postgresql/*/bin)
printf secret > /tmp/password
$bin/initdb -D /tmp/data -U distq --auth=scram-sha-256 --pwfile=/tmp/password
echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -c 'listen_addresses=*' -c unix_socket_directories=/tmp
"""
VALUES: dict[str, Any] = {
    "image": {"variant": "minimal"},
    "master": {"replicas": 3, "store": {"url": "postgresql://distq@database/postgres", "existingSecret": "database"}},
    "tls": {"existingSecret": "master-tls", "verifyClients": True, "clientSecret": "client-tls", "http": True},
    "networkPolicy": {"storeTo": [{"podSelector": {"matchLabels": {"app": "database"}}}]},
}
LOAD = """
import os, signal, time
import distq
from distq.demo import tasks

worst_s = done = 0
ended = False

def end(*_):
    global ended
    ended = True

signal.signal(signal.SIGTERM, end)
with distq.Client() as client:
    print("began", flush=True)
    while not ended:
        began = time.perf_counter()
        assert client.submit(tasks.square, done).result(60) == (done, done * done)
        worst_s = max(worst_s, time.perf_counter() - began)
        done += 1
        with open("/tmp/new", "w") as file:
            file.write(str(done))
        os.replace("/tmp/new", "/tmp/done")  # a reader never sees an empty file
print("ended without an error;", done, "tasks; the slowest took", round(worst_s, 2), "s", flush=True)
"""


@pytest.fixture(name="release")
def release_on_a_database(tmp_path: Path) -> Iterator[Release]:
    """Yield three masters with TLS, and a certificate for the Service, on a database of the same namespace."""
    with namespace() as release:
        make_certificates(release, tmp_path)
        release.certificates = "client-tls"
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        container = {
            "name": "database",
            "image": "distq-test-postgresql:1",
            "command": ["sh", "-ec", DATABASE],
            "securityContext": security,
            "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
        }
        profile = {"type": "RuntimeDefault"}
        spec = {
            "containers": [container],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": profile},
        }
        labels = {"app": "database"}
        objects = [
            {"kind": "Pod", "metadata": {"name": "database", "labels": labels}, "spec": spec},
            {
                "kind": "Service",
                "metadata": {"name": "database"},
                "spec": {"selector": labels, "ports": [{"port": 5432}]},
            },
            {"kind": "Secret", "metadata": {"name": "database"}, "stringData": {"password": "secret"}},
        ]
        for one in objects:
            release.kubectl("apply", "--filename", "-", given=json.dumps({"apiVersion": "v1", **one}))
        release.kubectl("wait", "--for=condition=Ready", "pod/database", "--timeout", "60s")
        release.install(VALUES)
        yield release


def make_certificates(release: Release, folder: Path, *options: str) -> None:
    """Make certificates for the name of the Service, and write them into the Secrets of the release."""
    assert distq(["tls", "init", str(folder), "--host", "distq-master", *options]) == 0
    for name in ("master", "client"):
        sources = [f"--from-file={key}={folder}/{file}" for key, file in secret_entries(name).items()]
        made = release.kubectl(
            "create", "secret", "generic", f"{name}-tls", *sources, "--dry-run=client", "--output=json"
        )
        release.kubectl("apply", "--filename", "-", given=made)


def secret_entries(name: str) -> dict[str, str]:
    """Return the files of a certificate by their entries in a Secret."""
    return {"tls.crt": f"{name}.crt", "tls.key": f"{name}.key", "ca.crt": "ca.crt"}


def events(release: Release, selector: str, event: str) -> int:
    """Return how often the pods have logged an event."""
    return release.kubectl("logs", "--selector", selector, "--tail", "-1").count(f'"event": "{event}"')


def assert_that_a_renewed_secret_is_used(release: Release, folder: Path) -> None:
    """Check that all masters read their new certificate, and that no worker connects again."""
    connected = events(release, WORKERS, "master_connected")
    make_certificates(release, folder, "--renew")
    # The kubelet writes a changed Secret into a pod when it looks at the pod, after a change of it or within a minute.
    release.kubectl("annotate", "pods", "--selector", MASTERS, "certificate=renewed")
    new = (folder / "master.crt").read_text().split()
    pods = release.names("pods", MASTERS)
    wait_for_value(
        lambda: [release.kubectl("exec", pod, "--", "python3", "-c", SERVED).split() for pod in pods],
        lambda found: found == [new] * len(pods),
        120,
    )
    assert events(release, WORKERS, "master_connected") == connected


def assert_that_a_client_without_tls_is_refused(release: Release) -> None:
    """Check that the sentence of the error names the setting that is missing."""
    release.certificates = ""
    assert "accepts only TLS" in release.runs(PLAIN)
    release.certificates = "client-tls"


def leaders(release: Release) -> list[str]:
    """Return the masters that lead."""
    return [pod for pod in release.names("pods", MASTERS) if release.metric(pod, "distq_leader ") == 1]


def test_an_upgrade_and_the_end_of_each_leader_are_no_error_at_a_client(release: Release, tmp_path: Path) -> None:
    """A client submits one task after another through a rolling upgrade, three deletions and a kill of the leader."""
    assert len(wait_for_value(lambda: leaders(release), lambda found: len(found) == 1, 30)) == 1
    load = release.pod(["python3", "-c", LOAD], CLIENT_LABEL, {})

    def done() -> int:
        return int(release.kubectl("exec", load, "--", "cat", "/tmp/done"))

    def goes_on() -> None:
        before = done()
        wait_for_value(done, lambda now: now > before + 10, 60)

    wait_for_value(done, lambda now: now > 10, 60)
    # Each has left the standby that the Service chose: the certificate at the leader's pod has the Service's name.
    masters = release.names("pods", MASTERS)
    wait_for_value(
        lambda: sum(release.metric(pod, "distq_passed_connections") for pod in masters), lambda n: n == 0, 30
    )
    assert_that_a_renewed_secret_is_used(release, tmp_path)
    assert_that_a_client_without_tls_is_refused(release)
    goes_on()
    release.upgrade({**VALUES, "master": {**VALUES["master"], "podAnnotations": {"round": "two"}}})
    goes_on()
    for options in ([], [], [], ["--grace-period=0", "--force"]):
        (leader,) = wait_for_value(lambda: leaders(release), lambda found: len(found) == 1, 60)
        release.kubectl("delete", leader, *options)
        release.kubectl("rollout", "status", "deployment/distq-master", "--timeout", "60s")
        goes_on()
    release.kubectl("exec", load, "--", "python3", "-c", "import os; os.kill(1, 15)")
    log = wait_for_value(lambda: release.kubectl("logs", load), lambda text: "ended" in text, 60)
    assert "ended without an error" in log
