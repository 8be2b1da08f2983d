"""TLS in the chart: which pod gets which files, and which combinations of values are errors."""

from typing import Any

import pytest
from tests.kit.chart import CI, Rendered, env_of, render, worker
from tests.kit.shell import CHART, fails

ISSUED: dict[str, Any] = {"certManager": {"enabled": True, "issuer": {"name": "own", "kind": "ClusterIssuer"}}}


def volume_of(rendered: Rendered, kind: str, name: str) -> dict[str, Any]:
    """Return the volume of certificates of a pod, and check that its containers mount it for reading only."""
    pod = rendered.pods()[kind, name]
    (container,) = pod["containers"]
    assert {"name": "tls", "mountPath": "/etc/distq-tls", "readOnly": True} in container["volumeMounts"]
    found: dict[str, Any] = next(volume for volume in pod["volumes"] if volume["name"] == "tls")
    return found


def entries_of(volume: dict[str, Any]) -> dict[str, list[str]]:
    """Return the entries that a projected volume takes from each Secret."""
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    return {source["name"]: [item["key"] for item in source["items"]] for source in sources}


def test_pods_of_a_release_without_tls_have_no_certificate() -> None:
    """Nothing of a release without TLS mentions it."""
    for _, pod, container in render().containers():
        assert not [name for name in env_of(container) if "TLS" in name]
        assert not [volume for volume in pod["volumes"] if volume["name"] == "tls"]


def test_workers_get_the_ca_and_not_the_key_of_the_master() -> None:
    """The master mounts its Secret; workers and tests take only `ca.crt` from it."""
    rendered = render({"tls": {"existingSecret": "own"}})
    assert volume_of(rendered, "StatefulSet", "distq-master")["secret"]["secretName"] == "own"
    master = env_of(rendered.pods()["StatefulSet", "distq-master"]["containers"][0])
    assert master["DISTQ_TLS_CERT"] == "/etc/distq-tls/tls.crt"
    assert master["DISTQ_TLS_VERIFY_CLIENTS"] == "0"
    for kind, name in (("Deployment", "distq-worker-default"), ("Pod", "distq-test-tasks")):
        assert entries_of(volume_of(rendered, kind, name)) == {"own": ["ca.crt"]}
    settings = {name: text for name, text in env_of(worker(rendered)).items() if "TLS" in name}
    assert settings == {"DISTQ_TLS_CA": "/etc/distq-tls/ca.crt"}


def test_verified_workers_have_a_certificate_of_their_own() -> None:
    """It comes from a second Secret; HTTP stays without TLS, so that probes and scrapers need no CA."""
    rendered = render(CI / "tls-values.yaml")
    entries = {"master-certificate": ["ca.crt"], "worker-certificate": ["tls.crt", "tls.key"]}
    assert entries_of(volume_of(rendered, "Deployment", "distq-worker-default")) == entries
    for _, _, container in rendered.containers():
        assert env_of(container)["DISTQ_HTTP_TLS"] == "0"
    assert env_of(worker(rendered))["DISTQ_TLS_KEY"] == "/etc/distq-tls/tls.key"


def test_the_certificate_of_several_masters_has_the_name_of_their_service() -> None:
    """Workers connect to the leader's pod by its IP address, and check the Service's name."""
    database = {"master": {"replicas": 3, "store": {"existingSecret": "database"}}}
    rendered = render({"tls": ISSUED, **database})
    name = env_of(worker(rendered))["DISTQ_TLS_SERVER_NAME"]
    assert name in rendered["Certificate", "distq-master"]["spec"]["dnsNames"]
    assert "DISTQ_TLS_SERVER_NAME" not in env_of(worker(render(database)))


def test_http_of_the_master_has_tls_by_a_value() -> None:
    """Its probes, the ServiceMonitor and KEDA then use HTTPS; a worker has no certificate for it."""
    keda = {"concurrency": 2, "keda": {"enabled": True}}
    values = {"tls": {"existingSecret": "own", "http": True}, "serviceMonitor": {"enabled": True}}
    rendered = render({**values, "workerPools": {"default": keda}})
    (master,) = rendered.pods()["StatefulSet", "distq-master"]["containers"]
    assert env_of(master)["DISTQ_HTTP_TLS"] == "1"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert master[probe]["httpGet"]["scheme"] == "HTTPS"
        assert "scheme" not in worker(rendered)[probe]["httpGet"]
    (endpoint,) = rendered["ServiceMonitor", "distq-master"]["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {"ca": {"secret": {"name": "own", "key": "ca.crt"}}, "serverName": "distq-master"}
    (trigger,) = rendered["ScaledObject", "distq-worker-default"]["spec"]["triggers"]
    assert trigger["metadata"]["url"].startswith("https://distq-master.default:9001/")
    assert trigger["metadata"]["unsafeSsl"] == "true"


def test_the_test_with_the_standard_library_runs_only_without_tls() -> None:
    """Programs of the standard library speak no TLS."""
    assert ("Pod", "distq-test-plain") in render()
    assert ("Pod", "distq-test-plain") not in render({"tls": {"existingSecret": "own"}})


def test_cert_manager_makes_certificates_for_the_names_of_the_service() -> None:
    """Workers find the master by the Service's name; commands in its pod use 127.0.0.1."""
    rendered = render({"tls": {**ISSUED, "verifyClients": True}})
    spec = rendered["Certificate", "distq-master"]["spec"]
    assert spec["issuerRef"] == {"name": "own", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    address = str(env_of(worker(rendered))["DISTQ_ADDRESS"]).partition(":")[0]
    assert {address, "distq-master.default.svc", "localhost"} <= set(spec["dnsNames"])
    assert spec["ipAddresses"] == ["127.0.0.1"]
    master = volume_of(rendered, "StatefulSet", "distq-master")["secret"]["secretName"]
    assert master == spec["secretName"]
    client = rendered["Certificate", "distq-client"]["spec"]["secretName"]
    assert entries_of(volume_of(rendered, "Deployment", "distq-worker-default")).keys() == {master, client}
    assert ("Certificate", "distq-client") not in render({"tls": ISSUED})


@pytest.mark.parametrize(
    ("switches", "sentence"),
    [
        (["tls.certManager.enabled=true"], "set tls.certManager.issuer.name"),
        (
            ["tls.certManager.enabled=true", "tls.certManager.issuer.name=own", "tls.existingSecret=own"],
            "exclude each other",
        ),
        (["tls.verifyClients=true"], "need a certificate of the master"),
        (["tls.clientSecret=own"], "need a certificate of the master"),
        (["tls.http=true"], "need a certificate of the master"),
        (["tls.existingSecret=own", "tls.verifyClients=true"], "set tls.clientSecret"),
    ],
)
def test_values_of_tls_that_lack_another_one_are_sentences(switches: list[str], sentence: str) -> None:
    """A release never runs without TLS because a value is missing."""
    options = [option for switch in switches for option in ("--set", switch)]
    assert sentence in fails("helm", "template", "distq", CHART, *options)
