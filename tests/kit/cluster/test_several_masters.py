"""Tests of a release with three masters on a PostgreSQL database: hand-overs disturb no client.

As in test_cluster, the tests use the current `kubectl` context. `.ci/run` builds and loads the image of the database.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.cluster.release import CLIENT_LABEL, Release, namespace
from tests.kit.shell import wait_for_value

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]

MASTERS = "app.kubernetes.io/component=master"
DATABASE = """
bin=$(ls -d /usr/lib/postgresql/*/bin)
printf secret > /tmp/password
$bin/initdb -D /tmp/data -U distq --auth=scram-sha-256 --pwfile=/tmp/password
echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -c 'listen_addresses=*' -c unix_socket_directories=/tmp
"""
VALUES: dict[str, Any] = {
    "master": {"replicas": 3, "store": {"url": "postgresql://distq@database/postgres", "existingSecret": "database"}},
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
        open("/tmp/done", "w").write(str(done))
print("ended without an error;", done, "tasks; the slowest took", round(worst_s, 2), "s", flush=True)
"""


@pytest.fixture(name="release")
def release_on_a_database() -> Iterator[Release]:
    """Yield three masters on a database that runs in the same namespace."""
    with namespace() as release:
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


def leaders(release: Release) -> list[str]:
    """Return the masters that lead."""
    return [pod for pod in release.names("pods", MASTERS) if release.metric(pod, "distq_leader ") == 1]


def test_an_upgrade_and_the_end_of_each_leader_are_no_error_at_a_client(release: Release) -> None:
    """A client submits one task after another through a rolling upgrade, three deletions and a kill of the leader."""
    assert len(wait_for_value(lambda: leaders(release), lambda found: len(found) == 1, 30)) == 1
    load = release.pod(["python3", "-c", LOAD], CLIENT_LABEL, {})

    def done() -> int:
        return int(release.kubectl("exec", load, "--", "cat", "/tmp/done"))

    def goes_on() -> None:
        before = done()
        wait_for_value(done, lambda now: now > before + 10, 60)

    wait_for_value(done, lambda now: now > 10, 60)
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
