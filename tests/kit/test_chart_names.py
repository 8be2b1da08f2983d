"""Names and numbers of users in the chart's YAML, queries, URLs and checks: each keeps its meaning."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.kit.chart import CI, NEWEST, Object, Rendered, env_of, render, worker
from tests.kit.shell import CHART, CommandFailed, run

NAMES_THAT_YAML_READS_AS_OTHER_TYPES = ["1", "on", "null", "1e5", "0x1f", "12e03", "y"]
RELEASES = [
    "123",
    "1e5",
    "on",
    "my.release",
    "9.9",
    "a" * 53,
    "distq." + "b" * 47,
    "a--------------------------b",
    "1-distq",
]
EVERYTHING: Object = {
    "workerDefaults": {"podDisruptionBudget": {"enabled": True}, "keda": {"enabled": True}},
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"egress": {"enabled": True}},
}


def refusal_of(values: Object) -> str:
    """Return the error of the chart for values that it refuses."""
    given = json.dumps(values)
    with pytest.raises(CommandFailed) as error:
        run("helm", "template", "distq", CHART, "--kube-version", NEWEST, "--values", "-", given=given)
    return str(error.value)


def mappings_of_texts(item: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield all labels, annotations, selectors and data in an object."""
    if isinstance(item, dict):
        for key, value in item.items():
            if key in {"labels", "annotations", "matchLabels", "selector", "data"} and isinstance(value, dict):
                yield key, value
            yield from mappings_of_texts(value)
    elif isinstance(item, list):
        for value in item:
            yield from mappings_of_texts(value)


def assert_texts(rendered: Rendered) -> None:
    """Check that every label, annotation, name and selector is a text, as the API server requires."""
    for (_, name), item in rendered.items():
        assert isinstance(name, str)
        for where, found in mappings_of_texts(item):
            texts = {key: value for key, value in found.items() if key not in {"matchLabels", "matchExpressions"}}
            assert all(isinstance(key, str) and isinstance(value, str) for key, value in texts.items()), (where, texts)


@pytest.mark.parametrize("pool", NAMES_THAT_YAML_READS_AS_OTHER_TYPES)
def test_a_pools_name_is_a_text_everywhere(pool: str) -> None:
    """Labels, selectors, and the worker's settings contain it as a text."""
    rendered = render({**EVERYTHING, "workerPools": {"default": None, pool: {}}})
    assert_texts(rendered)
    assert rendered["Deployment", f"distq-worker-{pool}"]["metadata"]["labels"]["distq/pool"] == pool
    assert env_of(worker(rendered, pool))["DISTQ_POOL"] == pool


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_name_that_helm_accepts_gives_names_that_kubernetes_accepts(release: str) -> None:
    """Names of Services begin with a letter and have no dot; no name of an object is longer than 63 characters."""
    rendered = render({**EVERYTHING, "workerPools": {"default": None, "a-pool-of-20-letters": {}}}, release)
    assert_texts(rendered)
    for kind, name in rendered:
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name), (kind, name)
        assert len(name) <= 63, (kind, name)
    labels = rendered["Deployment", next(name for kind, name in rendered if kind == "Deployment")]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == release


@pytest.mark.parametrize("name", ["1", "on", "1e5", "null"])
def test_names_of_other_objects_are_texts(name: str) -> None:
    """Claims, Secrets, ConfigMaps, priority classes and variables keep the names that values give them."""
    values: Object = {
        "authkey": {"existingSecret": name, "key": name},
        "master": {"storage": {"existingClaim": name}, "priorityClassName": name, "env": {"on": "1", "NULL": 2}},
        "workerPools": {
            "default": {"tasksFrom": {"configMap": name}},
            "claims": {"tasksFrom": {"claim": name}, "priorityClassName": name},
        },
    }
    rendered = render(values)
    master = rendered.pods()["StatefulSet", "distq-master"]
    volumes = {volume["name"]: volume for volume in master["volumes"]}
    assert volumes["authkey"]["secret"]["secretName"] == name
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == name
    assert master["priorityClassName"] == name
    assert {"on", "NULL"} <= set(env_of(master["containers"][0]))
    pools = [rendered.pods()["Deployment", f"distq-worker-{pool}"]["volumes"][-1] for pool in ("default", "claims")]
    assert (pools[0]["configMap"]["name"], pools[1]["persistentVolumeClaim"]["claimName"]) == (name, name)
    generated = render({"authkey": {"key": name}})["Secret", "distq-authkey"]
    assert list(generated["data"]) == [name]


def test_a_queues_name_matches_only_itself_in_queries_and_urls() -> None:
    """An unescaped dot in a pattern would count the tasks of other queues too."""
    queues = ["mail.eu", "a-b_c", "plain"]
    pool = {"concurrency": 2, "queues": queues}
    keda_values = {"enabled": True, "trigger": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    rendered = render({"workerPools": {"default": {**pool, "keda": keda_values}}})
    query = rendered["ScaledObject", "distq-worker-default"]["spec"]["triggers"][0]["metadata"]["query"]
    patterns = re.findall(r'queue=~"([^"]*)"', query)
    assert len(patterns) == 2
    for pattern in patterns:
        unescaped = pattern.replace("\\\\", "\\")
        assert [name for name in [*queues, "mail-eu", "mailXeu", "plain2"] if re.fullmatch(unescaped, name)] == queues
    rendered = render({"workerPools": {"default": {**pool, "keda": {"enabled": True}}}})
    url = rendered["ScaledObject", "distq-worker-default"]["spec"]["triggers"][0]["metadata"]["url"]
    assert parse_qs(urlsplit(url).query) == {"queues": [",".join(queues)]}


@pytest.mark.parametrize(
    ("capacity", "size"),
    [
        (100_000_000, "8Gi"),
        (100_000_000.0, "8Gi"),
        ("100_000_000", "8Gi"),
        ("100000000", 8 << 30),
        (25_000_000, "1e10"),
        (3_000_000, "1000000Ki"),
    ],
)
def test_a_capacity_in_a_values_file_is_checked_as_on_the_command_line(capacity: object, size: object) -> None:
    """Helm reads numbers of a million and more from a file as 1e+08."""
    error = refusal_of({"master": {"env": {"DISTQ_CAPACITY": capacity}, "storage": {"size": size}}})
    assert "small tasks. Raise master.storage.size, or lower the capacity" in error
    assert str(capacity).replace("_", "").removesuffix(".0") + " tasks" in error


@pytest.mark.parametrize("size", ["100Gi", "1e11", 100_000_000_000, "100000000Ki"])
def test_a_capacity_that_fits_the_volume_is_accepted(size: object) -> None:
    """The unit of the volume's size does not matter."""
    assert render({"master": {"env": {"DISTQ_CAPACITY": 100_000_000}, "storage": {"size": size}}})


def test_large_numbers_of_a_file_are_written_as_whole_numbers() -> None:
    """Kubernetes and distq do not read 1e+06."""
    million = 1_000_000
    hpa = {"enabled": True, "minReplicas": million, "maxReplicas": 2 * million}
    keda = {"enabled": True, "maxReplicas": million, "pollingSeconds": million, "cooldownSeconds": million}
    rendered = render(
        {
            "master": {"drainSeconds": million},
            "workerPools": {
                "default": {"replicas": million, "drainSeconds": million, "queues": ["a"]},
                "hpa": {"hpa": hpa, "podDisruptionBudget": {"maxUnavailable": million}, "queues": ["b"]},
                "keda": {"keda": keda, "concurrency": million, "queues": ["c"]},
            },
        }
    )
    assert rendered["Deployment", "distq-worker-default"]["spec"]["replicas"] == million
    for (_, name), pod in rendered.pods().items():
        if "test" not in name and name in {"distq-master", "distq-worker-default"}:
            assert env_of(pod["containers"][0])["DISTQ_DRAIN_S"] == "1000000"
            assert pod["terminationGracePeriodSeconds"] == million + 15
    scaler = rendered["HorizontalPodAutoscaler", "distq-worker-hpa"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (million, 2 * million)
    assert rendered["PodDisruptionBudget", "distq-worker-hpa"]["spec"]["maxUnavailable"] == million
    spec = rendered["ScaledObject", "distq-worker-keda"]["spec"]
    assert {spec["maxReplicaCount"], spec["pollingInterval"], spec["cooldownPeriod"]} == {million}
    assert spec["triggers"][0]["metadata"]["targetValue"] == "1000000"
    assert env_of(worker(rendered, "keda"))["DISTQ_CONCURRENCY"] == "1000000"
    assert "1e+06" not in str(rendered)


@pytest.mark.parametrize("value", [0, "0%", "00%"])
def test_a_disruption_budget_of_zero_is_refused_in_every_notation(value: object) -> None:
    """Such a budget would block every node drain."""
    error = refusal_of({"workerDefaults": {"podDisruptionBudget": {"maxUnavailable": value}}})
    assert "is 0 or 0%, which blocks every node drain" in error
    off = {"podDisruptionBudget": {"enabled": False, "maxUnavailable": value}}
    assert render({"workerDefaults": off})


@pytest.mark.parametrize("value", ["101%", "200%", "0", "-1%"])
def test_a_disruption_budget_that_kubernetes_would_refuse_is_refused(value: str) -> None:
    """The schema refuses it."""
    assert "maxUnavailable" in refusal_of({"workerDefaults": {"podDisruptionBudget": {"maxUnavailable": value}}})


PEERS_WITH_KEDA = [
    {"namespaceSelector": {}},
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}},
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
        "podSelector": {"matchLabels": {"app": "keda-operator"}},
    },
    {
        "namespaceSelector": {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring", "keda"]}
            ]
        }
    },
]
PEERS_WITHOUT_KEDA = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda", "team": "a"}}},
    {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}},
    {"podSelector": {}},
    {"ipBlock": {"cidr": "10.0.0.0/8"}},
]


@pytest.mark.parametrize("peer", PEERS_WITHOUT_KEDA, ids=str)
def test_a_policy_that_keeps_keda_out_is_an_error(peer: Object) -> None:
    """KEDA would leave the pool at one pod, and report the reason only in its own log."""
    policy: Object = {"metricsFrom": [peer]}
    values: Object = {"networkPolicy": policy, "workerPools": {"default": {"keda": {"enabled": True}}}}
    error = refusal_of(values)
    assert "networkPolicy.metricsFrom does not include KEDA's namespace, keda. Add `{namespaceSelector:" in error
    policy["enabled"] = False  # a disabled policy keeps KEDA in
    assert render(values)


@pytest.mark.parametrize("peer", PEERS_WITH_KEDA, ids=str)
def test_a_policy_that_lets_keda_in_is_accepted(peer: Object) -> None:
    """The policy may name any namespace for KEDA, by any selector."""
    policy: Object = {"metricsFrom": [peer]}
    values: Object = {"networkPolicy": policy, "workerPools": {"default": {"keda": {"enabled": True}}}}
    assert render(values)
    policy["kedaNamespace"] = "autoscaling"
    if peer != {"namespaceSelector": {}}:
        assert "KEDA's namespace, autoscaling" in refusal_of(values)


def test_a_prometheus_trigger_needs_no_policy_for_keda() -> None:
    """KEDA connects to Prometheus then, and not to the master."""
    keda_values = {"enabled": True, "trigger": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    policy = {"metricsFrom": PEERS_WITHOUT_KEDA[:1]}
    assert render({"networkPolicy": policy, "workerPools": {"default": {"keda": keda_values}}})


def test_a_release_reaches_its_master_and_dns_where_egress_is_denied() -> None:
    """The egress policy exists only if it is enabled, because any egress policy forbids all other traffic."""
    assert ("NetworkPolicy", "distq-egress") not in render()
    database = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5432}]}
    rendered = render({"networkPolicy": {"egress": {"enabled": True, "to": [database]}}})
    spec = rendered["NetworkPolicy", "distq-egress"]["spec"]
    assert spec["policyTypes"] == ["Egress"]
    master, dns, database_rule = spec["egress"]
    labels = rendered["StatefulSet", "distq-master"]["spec"]["template"]["metadata"]["labels"]
    assert master["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert master["ports"] == [{"port": "wire"}]
    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert database_rule == database
    chosen = spec["podSelector"]["matchLabels"].items()
    components = spec["podSelector"]["matchExpressions"][0]["values"]
    for key in [("Deployment", "distq-worker-default"), ("Pod", "distq-test-tasks")]:
        item = rendered[key]
        found = item["metadata"] if key[0] == "Pod" else item["spec"]["template"]["metadata"]
        assert chosen <= found["labels"].items()
        assert found["labels"]["app.kubernetes.io/component"] in components
    off = {"networkPolicy": {"egress": {"enabled": False}}}
    assert ("NetworkPolicy", "distq-egress") not in render(off)


def test_the_size_of_tmp_is_a_value() -> None:
    """/tmp is HOME, and the only folder that tasks can write to; its default holds a file of some megabytes."""

    def limit(rendered: Rendered, kind: str, name: str) -> object:
        volumes = rendered.pods()[kind, name]["volumes"]
        return next(volume["emptyDir"] for volume in volumes if volume["name"] == "tmp").get("sizeLimit")

    assert limit(render(), "Deployment", "distq-worker-default") == "2Gi"
    assert limit(render(), "StatefulSet", "distq-master") == "64Mi"
    values = {"master": {"tmpSize": "1Gi"}, "workerPools": {"default": {"tmpSize": ""}, "more": {"tmpSize": 10**10}}}
    rendered = render(values)
    assert limit(rendered, "Deployment", "distq-worker-default") is None
    assert limit(rendered, "Deployment", "distq-worker-more") == "1e+10"
    assert limit(rendered, "StatefulSet", "distq-master") == "1Gi"


def test_every_label_of_the_scenarios_is_a_text() -> None:
    """That holds for every file in helm/ci."""
    for values in sorted(CI.glob("*-values.yaml")):
        assert_texts(render(values))
