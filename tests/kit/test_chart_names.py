"""Names and numbers from outside in the chart's YAML, queries, URLs and checks: each keeps its meaning."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.kit.chart import CI, NEWEST, Object, Rendered, env_of, render, worker
from tests.kit.shell import CHART, CommandFailed, run

NAMES_THAT_YAML_READS_OTHERWISE = ["1", "on", "null", "1e5", "0x1f", "12e03", "y"]
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


def refused(values: Object) -> str:
    """What the chart says to values that it refuses."""
    given = json.dumps(values)
    with pytest.raises(CommandFailed) as said:
        run("helm", "template", "distq", CHART, "--kube-version", NEWEST, "--values", "-", given=given)
    return str(said.value)


def maps_of_texts(item: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """All labels, annotations, selectors and data in an object."""
    if isinstance(item, dict):
        for key, value in item.items():
            if key in {"labels", "annotations", "matchLabels", "selector", "data"} and isinstance(value, dict):
                yield key, value
            yield from maps_of_texts(value)
    elif isinstance(item, list):
        for value in item:
            yield from maps_of_texts(value)


def assert_texts(rendered: Rendered) -> None:
    """Every label, annotation, name and selector is a text, as the API server wants."""
    for (_, name), item in rendered.items():
        assert isinstance(name, str)
        for where, found in maps_of_texts(item):
            texts = {key: value for key, value in found.items() if key not in {"matchLabels", "matchExpressions"}}
            assert all(isinstance(key, str) and isinstance(value, str) for key, value in texts.items()), (where, texts)


@pytest.mark.parametrize("pool", NAMES_THAT_YAML_READS_OTHERWISE)
def test_a_pools_name_is_a_text_everywhere(pool: str) -> None:
    """In labels, selectors, and in the worker's own settings."""
    rendered = render({**EVERYTHING, "workerPools": {"default": None, pool: {}}})
    assert_texts(rendered)
    assert rendered["Deployment", f"distq-worker-{pool}"]["metadata"]["labels"]["distq/pool"] == pool
    assert env_of(worker(rendered, pool))["DISTQ_POOL"] == pool


@pytest.mark.parametrize("release", RELEASES)
def test_every_name_that_helm_takes_for_a_release_makes_names_that_kubernetes_takes(release: str) -> None:
    """Services begin with a letter and have no dot; all names of objects and pods stay short enough."""
    rendered = render({**EVERYTHING, "workerPools": {"default": None, "a-pool-of-20-letters": {}}}, release)
    assert_texts(rendered)
    for kind, name in rendered:
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name), (kind, name)
        assert len(name) <= 63, (kind, name)
    labels = rendered["Deployment", next(name for kind, name in rendered if kind == "Deployment")]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == release


@pytest.mark.parametrize("name", ["1", "on", "1e5", "null"])
def test_names_of_other_objects_are_texts(name: str) -> None:
    """Claims, Secrets, ConfigMaps, classes, variables: what a value names."""
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
    own = render({"authkey": {"key": name}})["Secret", "distq-authkey"]
    assert list(own["data"]) == [name]


def test_a_queues_name_stands_for_itself_in_queries_and_urls() -> None:
    """A dot in a pattern would count the tasks of other queues too."""
    queues = ["mail.eu", "a-b_c", "plain"]
    pool = {"concurrency": 2, "queues": queues}
    asked = {"enabled": True, "trigger": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    rendered = render({"workerPools": {"default": {**pool, "keda": asked}}})
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
def test_a_capacity_in_a_values_file_is_checked_as_one_on_the_command_line(capacity: object, size: object) -> None:
    """Numbers of a million and more come from a file as 1e+08."""
    said = refused({"master": {"env": {"DISTQ_CAPACITY": capacity}, "storage": {"size": size}}})
    assert "small tasks. Raise master.storage.size, or lower the capacity" in said
    assert str(capacity).replace("_", "").removesuffix(".0") + " tasks" in said


@pytest.mark.parametrize("size", ["100Gi", "1e11", 100_000_000_000, "100000000Ki"])
def test_a_capacity_that_the_volume_has_room_for_is_taken(size: object) -> None:
    """However its size is written."""
    assert render({"master": {"env": {"DISTQ_CAPACITY": 100_000_000}, "storage": {"size": size}}})


def test_large_numbers_of_a_file_are_written_as_whole_numbers() -> None:
    """Kubernetes and distq read no 1e+06."""
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
def test_a_budget_of_nothing_is_refused_however_it_is_written(value: object) -> None:
    """It would let no node be drained."""
    said = refused({"workerDefaults": {"podDisruptionBudget": {"maxUnavailable": value}}})
    assert "is 0 or 0%, which blocks every node drain" in said
    off = {"podDisruptionBudget": {"enabled": False, "maxUnavailable": value}}
    assert render({"workerDefaults": off})


@pytest.mark.parametrize("value", ["101%", "200%", "0", "-1%"])
def test_a_budget_that_kubernetes_would_refuse_is_refused(value: str) -> None:
    """By the schema."""
    assert "maxUnavailable" in refused({"workerDefaults": {"podDisruptionBudget": {"maxUnavailable": value}}})


PEERS_THAT_KEDA_IS_AMONG = [
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
PEERS_THAT_IT_IS_NOT_AMONG = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda", "team": "a"}}},
    {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}},
    {"podSelector": {}},
    {"ipBlock": {"cidr": "10.0.0.0/8"}},
]


@pytest.mark.parametrize("peer", PEERS_THAT_IT_IS_NOT_AMONG, ids=str)
def test_keda_that_the_policy_shuts_out_is_an_error_in_words(peer: Object) -> None:
    """It would leave the pool at one pod, and say so in its own log alone."""
    policy: Object = {"metricsFrom": [peer]}
    values: Object = {"networkPolicy": policy, "workerPools": {"default": {"keda": {"enabled": True}}}}
    said = refused(values)
    assert "networkPolicy.metricsFrom does not include KEDA's namespace, keda. Add `{namespaceSelector:" in said
    policy["enabled"] = False  # a policy that is not there shuts out none
    assert render(values)


@pytest.mark.parametrize("peer", PEERS_THAT_KEDA_IS_AMONG, ids=str)
def test_keda_that_the_policy_lets_in_is_none(peer: Object) -> None:
    """However its namespace is named, and wherever it is."""
    policy: Object = {"metricsFrom": [peer]}
    values: Object = {"networkPolicy": policy, "workerPools": {"default": {"keda": {"enabled": True}}}}
    assert render(values)
    policy["kedaNamespace"] = "autoscaling"
    if peer != {"namespaceSelector": {}}:
        assert "KEDA's namespace, autoscaling" in refused(values)


def test_a_prometheus_that_keda_asks_is_no_matter_of_this_policy() -> None:
    """KEDA does not reach the master then."""
    asked = {"enabled": True, "trigger": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    policy = {"metricsFrom": PEERS_THAT_IT_IS_NOT_AMONG[:1]}
    assert render({"networkPolicy": policy, "workerPools": {"default": {"keda": asked}}})


def test_in_a_namespace_that_denies_all_the_releases_pods_reach_the_master_and_dns() -> None:
    """Where it is asked for; any policy of egress forbids the rest, so there is none without reason."""
    assert ("NetworkPolicy", "distq-egress") not in render()
    database = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5432}]}
    rendered = render({"networkPolicy": {"egress": {"enabled": True, "to": [database]}}})
    spec = rendered["NetworkPolicy", "distq-egress"]["spec"]
    assert spec["policyTypes"] == ["Egress"]
    master, dns, own = spec["egress"]
    labels = rendered["StatefulSet", "distq-master"]["spec"]["template"]["metadata"]["labels"]
    assert master["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert master["ports"] == [{"port": "wire"}]
    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert own == database
    chosen = spec["podSelector"]["matchLabels"].items()
    components = spec["podSelector"]["matchExpressions"][0]["values"]
    for key in [("Deployment", "distq-worker-default"), ("Pod", "distq-test-tasks")]:
        item = rendered[key]
        found = item["metadata"] if key[0] == "Pod" else item["spec"]["template"]["metadata"]
        assert chosen <= found["labels"].items()
        assert found["labels"]["app.kubernetes.io/component"] in components
    off = {"networkPolicy": {"egress": {"enabled": False}}}
    assert ("NetworkPolicy", "distq-egress") not in render(off)


def test_how_much_tmp_may_hold_is_a_value() -> None:
    """It is HOME, and the only folder that tasks can write to: more than a file of some megabytes fits by default."""

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


def test_the_scenarios_have_no_label_that_is_no_text() -> None:
    """Of every file in helm/ci."""
    for values in sorted(CI.glob("*-values.yaml")):
        assert_texts(render(values))
