"""What the chart's switches do, one by one, and which of them do not go together."""

from typing import Any

import pytest
from tests.kit.chart import CI, Rendered, render, worker
from tests.kit.shell import CHART, fails

SPEC = ("spec", "template", "spec")
POOL = "workerPools.default"


def pod(rendered: Rendered, kind: str = "Deployment", name: str = "distq-worker-default") -> dict[str, Any]:
    """The spec of a pod."""
    found: dict[str, Any] = rendered[kind, name]["spec"]["template"]["spec"]
    return found


def test_a_pool_has_a_budget_of_its_own_that_no_broken_pod_uses_up() -> None:
    """One pod at a time, or what is asked; a pod that is not ready never keeps a node from being drained."""
    budget = render()["PodDisruptionBudget", "distq-worker-default"]["spec"]
    selector = render()["Deployment", "distq-worker-default"]["spec"]["selector"]
    assert budget == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector}
    share = render(CI / "hpa-values.yaml")["PodDisruptionBudget", "distq-worker-default"]["spec"]
    assert share["maxUnavailable"] == "25%"
    off = render({"workerDefaults": {"podDisruptionBudget": {"enabled": False}}})
    assert not [kind for kind, _ in off if kind == "PodDisruptionBudget"]


@pytest.mark.parametrize("scenario", ["hpa", "keda"])
def test_where_an_autoscaler_decides_the_chart_says_no_number(scenario: str) -> None:
    """An upgrade would set it back, and server-side apply would fight over it."""
    rendered = render(CI / f"{scenario}-values.yaml")
    deployments = {name: item["spec"] for (kind, name), item in rendered.items() if kind == "Deployment"}
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]
        for (kind, _), item in rendered.items()
        if kind in {"HorizontalPodAutoscaler", "ScaledObject"}
    }
    assert scaled == set(deployments)
    assert not [name for name, spec in deployments.items() if "replicas" in spec]


def test_keda_asks_the_master_for_the_slots_that_a_pools_queues_want() -> None:
    """So many to a pod; a master that restarts takes no pod away."""
    spec = render(CI / "keda-values.yaml")["ScaledObject", "distq-worker-mail"]["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    url = "http://distq-master.default:9001/api/v1/autoscale?queues=mail,letters"
    assert trigger["metadata"] == {"url": url, "valueLocation": "desired_slots", "targetValue": "4"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 20)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}


def test_keda_may_ask_a_prometheus_instead() -> None:
    """For the master's own number, in this namespace, of these queues; an older master has counts alone."""
    spec = render(CI / "keda-values.yaml")["ScaledObject", "distq-worker-reports"]["spec"]
    (trigger,) = spec["triggers"]
    which = 'namespace="default", queue=~"reports"'
    counts = f'sum(distq_queue_tasks{{{which}, state=~"ready|leased"}})'
    query = f"sum(distq_queue_desired_slots{{{which}}}) or {counts}"
    address = "http://prometheus.monitoring:9090"
    assert trigger["metadata"] == {"serverAddress": address, "query": query, "threshold": "1"}


def test_the_master_is_reached_by_workers_and_by_who_is_labelled() -> None:
    """And connects to nobody; metrics are for the cluster, or for whom they are said to be."""
    spec = render()["NetworkPolicy", "distq-master"]["spec"]
    wire, http = spec["ingress"]
    assert (spec["egress"], spec["policyTypes"]) == ([], ["Ingress", "Egress"])
    workers, clients = wire["from"]
    labels = render()["Deployment", "distq-worker-default"]["spec"]["template"]["metadata"]["labels"]
    assert workers["podSelector"]["matchLabels"].items() <= labels.items()
    assert clients == {"podSelector": {"matchLabels": {"distq/client": "true"}}}
    assert http["from"] == [{"namespaceSelector": {}}]
    tests = [item for (kind, _), item in render().items() if kind == "Pod"]
    assert all(item["metadata"]["labels"]["distq/client"] == "true" for item in tests)
    narrow = render(CI / "monitoring-values.yaml")
    for name in ("distq-master", "distq-worker"):
        *_, http = narrow["NetworkPolicy", name]["spec"]["ingress"]
        assert "monitoring" in str(http["from"])


def test_a_master_that_is_offered_outside_is_reached_from_there() -> None:
    """By everybody who has the key, or by those that are named."""
    everybody = render({"master": {"service": {"type": "LoadBalancer"}}})
    assert "from" not in everybody["NetworkPolicy", "distq-master"]["spec"]["ingress"][0]
    some = render(CI / "outside-values.yaml")["NetworkPolicy", "distq-master"]["spec"]["ingress"][0]["from"]
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in some


def test_sidecars_start_before_and_end_after() -> None:
    """Native ones: containers before ours that go on. They have our rights, none, unless they say otherwise."""
    rendered = render(CI / "sidecars-values.yaml")
    fetch, proxy = pod(rendered)["initContainers"]
    (tunnel,) = pod(rendered, "StatefulSet", "distq-master")["initContainers"]
    assert "restartPolicy" not in fetch
    for sidecar in (proxy, tunnel):
        assert sidecar["restartPolicy"] == "Always"
    assert fetch["securityContext"] == worker(rendered)["securityContext"]
    asked = {"sidecars": [{"name": "x", "image": "x", "securityContext": {"readOnlyRootFilesystem": False}}]}
    (own,) = pod(render({"workerDefaults": asked}))["initContainers"]
    assert own["securityContext"]["readOnlyRootFilesystem"] is False
    assert own["securityContext"]["allowPrivilegeEscalation"] is False


def test_probes_and_resources_bend_where_they_are_asked_to() -> None:
    """Merged over ours; what is not said stays."""
    rendered = render(CI / "sidecars-values.yaml")
    container = worker(rendered)
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/readyz", "port": "http"},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
    }
    assert container["startupProbe"]["failureThreshold"] == 300
    assert container["resizePolicy"] == [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
    assert pod(rendered)["hostUsers"] is False
    assert "hostUsers" not in pod(render())


def test_pods_are_spread_with_their_like() -> None:
    """A constraint without a selector is about the pool's own pods."""
    rendered = render(CI / "hpa-values.yaml")
    (constraint,) = pod(rendered)["topologySpreadConstraints"]
    assert constraint["labelSelector"] == rendered["Deployment", "distq-worker-default"]["spec"]["selector"]
    assert pod(rendered)["priorityClassName"] == "batch"


def test_images_come_from_a_registry_for_all_and_by_digest() -> None:
    """A digest wins over every tag, the chart's own registry over the global one."""
    rendered = render(CI / "outside-values.yaml")
    master = pod(rendered, "StatefulSet", "distq-master")["containers"][0]["image"]
    assert master.startswith("registry.example.com/distq-master@sha256:0123")
    assert worker(rendered)["image"].startswith("registry.example.com/distq-worker:")
    both = render({"global": {"imageRegistry": "theirs"}, "image": {"registry": "ours"}})
    assert worker(both)["image"].startswith("ours/")


def test_further_objects_are_yaml_or_text_with_the_charts_own_words() -> None:
    """Both ways."""
    rendered = render(CI / "outside-values.yaml")
    assert rendered["ConfigMap", "own"]["data"] == {"of": "them"}
    assert rendered["ConfigMap", "distq-own"]["data"] == {"address": "distq-master:9000"}


def test_tasks_come_from_a_config_map_a_volume_or_an_image() -> None:
    """Mounted at /app, where modules are found, and not to be written to."""
    rendered = render(CI / "tasks-values.yaml")
    volumes = {
        pool: next(one for one in pod(rendered, name=f"distq-worker-{pool}")["volumes"] if one["name"] == "tasks")
        for pool in ("default", "large", "image")
    }
    assert volumes["default"]["configMap"] == {"name": "words"}
    assert volumes["large"]["persistentVolumeClaim"] == {"claimName": "large", "readOnly": True}
    assert volumes["image"]["image"] == {"reference": "registry.example.com/tasks:3"}
    for pool in volumes:
        assert {"name": "tasks", "mountPath": "/app", "readOnly": True} in worker(rendered, pool)["volumeMounts"]


def test_monitors_find_the_master_once_and_each_pool() -> None:
    """The headless Service has the same pod behind it."""
    rendered = render(CI / "monitoring-values.yaml")
    spec = rendered["ServiceMonitor", "distq-master"]["spec"]
    services = [item["metadata"]["labels"] for (kind, _), item in rendered.items() if kind == "Service"]
    wanted = spec["selector"]["matchLabels"].items()
    assert [("distq/headless" in labels) for labels in services if wanted <= labels.items()] == [False, True]
    assert spec["selector"]["matchExpressions"] == [{"key": "distq/headless", "operator": "DoesNotExist"}]
    monitor = rendered["PodMonitor", "distq-worker-default"]
    labels = rendered["Deployment", "distq-worker-default"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["metadata"]["labels"]["release"] == "stack"


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("master.replicas=2", "two masters on one volume would be two writers of one file"),
        ("replicaCount=3", "There is no value `replicaCount`. Use workerDefaults.replicas"),
        ("autoscaling.enabled=true", "There is no value `autoscaling`. Use workerDefaults.hpa or workerDefaults.keda"),
        ("master.env.DISTQ_ADRESS=x", "master.env.DISTQ_ADRESS is no setting of distq"),
        (f"{POOL}.env.DISTQ_QUEUE=x", f"{POOL}.env.DISTQ_QUEUE is no setting of distq"),
        (f"{POOL}.env.DISTQ_DRAIN_S=5", "Set drainSeconds instead"),
        ("master.env.DISTQ_DRAIN_S=5", "Set drainSeconds instead"),
        (f"{POOL}.hpa.enabled=true,{POOL}.keda.enabled=true", "two autoscalers would change one Deployment"),
        (f"{POOL}.hpa.enabled=true,{POOL}.hpa.minReplicas=11", "minReplicas is above its maxReplicas"),
        (f"{POOL}.hpa.enabled=true,workerDefaults.resources.requests.cpu=null", "set workerPools.default.resources"),
        (f"{POOL}.keda.enabled=true,{POOL}.keda.trigger=prometheus", "set workerPools.default.keda.prometheusAddress"),
        (f"{POOL}.keda.enabled=true,{POOL}.concurrency=0", "set workerPools.default.concurrency"),
        ("workerDefaults.keda.enabled=true,workerPools.more.replicas=1", "its tasks would be counted twice"),
        (
            "workerDefaults.keda.enabled=true,workerPools.default.queues={a,b},workerPools.more.queues={b}",
            "workerPools.default and workerPools.more are both scaled by KEDA for the queue b",
        ),
        (f"{POOL}.podDisruptionBudget.maxUnavailable=0", "blocks every node drain"),
        (f"{POOL}.tasksFrom.configMap=a,{POOL}.tasksFrom.claim=b", "names 2 sources"),
        ("master.env.DISTQ_CAPACITY=1000000000", "Raise master.storage.size, or lower the capacity"),
    ],
)
def test_values_that_do_not_go_together_are_an_error_that_says_what_to_do(mistake: str, sentence: str) -> None:
    """Before anything is applied."""
    assert sentence in fails("helm", "template", "distq", CHART, "--set", mistake)


def test_an_old_kubernetes_is_told_what_it_cannot_do() -> None:
    """Volumes that are images came with 1.35."""
    said = fails("helm", "template", "distq", CHART, "--kube-version", "1.34", "--set", f"{POOL}.tasksFrom.image=x")
    assert "tasksFrom.image needs Kubernetes 1.35, and this is v1.34.0" in said


def test_capacity_and_volume_that_go_together_are_no_error() -> None:
    """Ten million tasks, the default, fit the default volume."""
    assert render({"master": {"env": {"DISTQ_CAPACITY": 10_000_000}}})
