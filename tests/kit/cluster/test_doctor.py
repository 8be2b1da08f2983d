"""`distq doctor --kubernetes` on real releases: the chart with its defaults, and with the hardened values."""

from pathlib import Path
from typing import Any

import pytest
from tests.kit.cluster.release import Release, namespace
from tests.kit.cluster.test_cluster import forwarded
from tests.kit.doctor import KEY_LINES, READER_KEY, SIGNING_KEY, WORKER_KEY, doctor, other_than_ok
from tests.kit.test_chart_doctor import HARDENED
from tests.net.certificates import Authority, settings_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]


def port_forward(release: Release) -> list[str]:
    """Return the command that forwards a port of this machine to the master."""
    return ["kubectl", "--namespace", release.namespace, "port-forward", "service/distq-master", "9000"]


def test_the_chart_gives_exactly_these_warnings() -> None:
    """None is a problem, and no fact is missing."""
    with namespace() as release:
        release.install()
        with forwarded(port_forward(release)) as address:
            place = f"{release.namespace}/distq"
            key = release.authkey()
            found = doctor("--kubernetes", place, code=0, DISTQ_ADDRESS=address, DISTQ_AUTHKEY=key)
    assert other_than_ok(found) == {
        "tls": "warning",
        "key-roles": "warning",
        "key-rights": "warning",
        "signatures": "warning",
        "limits-off": "warning",
        "k8s-metrics-from": "warning",
        "k8s-resources": "warning",
        "k8s-tls": "warning",
    }


def test_the_chart_with_the_hardened_values_passes_strictly(tmp_path: Path) -> None:
    """TLS with certificates of clients, keys with roles, signed payloads, limits, and chosen scrapers."""
    authority = Authority(tmp_path)
    server, client = authority.server("distq-master", "localhost", "127.0.0.1"), authority.server("client")
    values: dict[str, Any] = {
        **HARDENED,
        "master": {**HARDENED["master"], "env": {"DISTQ_DEAD_LETTERS_MAX": 1000}},
        "workerDefaults": {**HARDENED["workerDefaults"], "queues": ["default"]},
    }
    with namespace() as release:
        secret = ["create", "secret", "generic"]
        release.kubectl(*secret, "own", f"--from-literal=authkey={WORKER_KEY[::-1]}")
        release.kubectl(*secret, "role-keys", f"--from-literal=keys={KEY_LINES}")
        release.kubectl(*secret, "worker-key", f"--from-literal=authkey={WORKER_KEY}")
        release.kubectl(*secret, "payload-keys", f"--from-literal=signing-key={SIGNING_KEY}")
        for name, files in (("certificate", server), ("worker-certificate", client)):
            entries = zip(("tls.crt", "tls.key", "ca.crt"), files[:3], strict=True)
            release.kubectl(*secret, name, *(f"--from-file={entry}={path}" for entry, path in entries))
        release.install(values)
        with forwarded(port_forward(release)) as address:
            place = f"{release.namespace}/distq"
            reader = {"DISTQ_ADDRESS": address, "DISTQ_AUTHKEY": READER_KEY, **settings_of(client)}
            found = doctor("--strict", "--kubernetes", place, code=0, **reader)
    assert other_than_ok(found) == {}
