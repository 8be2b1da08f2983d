"""Each switch of the chart, one by one, and which of them exclude each other."""

from typing import Any

import pytest
from tests.kit.chart import CI, Rendered, render, worker
from tests.kit.shell import CHART, VERSION, fails

SPEC = ("spec", "template", "spec")
POOL = "workerPools.default"


def pod(rendered: Rendered, kind: str = "Deployment", name: str = "distq-worker-default") -> dict[str, Any]:
    """Return the spec of a pod."""
    found: dict[str, Any] = rendered[kind, name]["spec"]["template"]["spec"]
    return found


def test_a_pool_has_a_disruption_budget_that_no_broken_pod_uses_up() -> None:
    """The default is one pod at a time; a pod that is not ready never prevents the drain of its node."""
    budget = render()["PodDisruptionBudget", "distq-worker-default"]["spec"]
    selector = render()["Deployment", "distq-worker-default"]["spec"]["selector"]
    assert budget == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector}
    share = render(CI / "hpa-values.yaml")["PodDisruptionBudget", "distq-worker-default"]["spec"]
    assert share["maxUnavailable"] == "25%"
    off = render({"workerDefaults": {"podDisruptionBudget": {"enabled": False}}})
    assert not [kind for kind, _ in off if kind == "PodDisruptionBudget"]


@pytest.mark.parametrize("scenario", ["hpa", "keda"])
def test_a_deployment_with_an_autoscaler_has_no_replicas(scenario: str) -> None:
    """An upgrade would reset the number, and server-side apply would report a conflict."""
    rendered = render(CI / f"{scenario}-values.yaml")
    deployments = {name: item["spec"] for (kind, name), item in rendered.items() if kind == "Deployment"}
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]
        for (kind, _), item in rendered.items()
        if kind in {"HorizontalPodAutoscaler", "ScaledObject"}
    }
    assert scaled == set(deployments)
    assert not [name for name, spec in deployments.items() if "replicas" in spec]


def test_keda_reads_a_pools_needed_slots_from_the_master() -> None:
    """A pod counts for the pool's concurrency; a restart of the master removes no pod."""
    spec = render(CI / "keda-values.yaml")["ScaledObject", "distq-worker-mail"]["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    url = "http://distq-master.default:9001/api/v1/autoscale?queues=mail,letters"
    assert trigger["metadata"] == {"url": url, "valueLocation": "desired_slots", "targetValue": "4"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 20)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}


def test_keda_can_read_a_prometheus_instead() -> None:
    """The query is about the master's number for this namespace and these queues; older masters have only counts."""
    spec = render(CI / "keda-values.yaml")["ScaledObject", "distq-worker-reports"]["spec"]
    (trigger,) = spec["triggers"]
    which = 'namespace="default", queue=~"reports"'
    counts = f'sum(distq_queue_tasks{{{which}, state=~"ready|leased"}})'
    query = f"sum(distq_queue_desired_slots{{{which}}}) or {counts}"
    address = "http://prometheus.monitoring:9090"
    assert trigger["metadata"] == {"serverAddress": address, "query": query, "threshold": "1"}


def test_only_workers_and_labelled_pods_reach_the_master() -> None:
    """The master opens no connection; the whole cluster reads metrics, or only the namespaces that values name."""
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


def test_a_master_behind_a_load_balancer_is_reached_from_outside() -> None:
    """Every address can connect, or only those that values name."""
    unrestricted = render({"master": {"service": {"type": "LoadBalancer"}}})
    assert "from" not in unrestricted["NetworkPolicy", "distq-master"]["spec"]["ingress"][0]
    some = render(CI / "outside-values.yaml")["NetworkPolicy", "distq-master"]["spec"]["ingress"][0]["from"]
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in some


def test_sidecars_start_before_the_worker_and_end_after_it() -> None:
    """Native sidecars are init containers that continue; without a security context they get that of the worker."""
    rendered = render(CI / "sidecars-values.yaml")
    fetch, proxy = pod(rendered)["initContainers"]
    (tunnel,) = pod(rendered, "StatefulSet", "distq-master")["initContainers"]
    assert "restartPolicy" not in fetch
    for sidecar in (proxy, tunnel):
        assert sidecar["restartPolicy"] == "Always"
    assert fetch["securityContext"] == worker(rendered)["securityContext"]
    sidecar_values = {"sidecars": [{"name": "x", "image": "x", "securityContext": {"readOnlyRootFilesystem": False}}]}
    (sidecar,) = pod(render({"workerDefaults": sidecar_values}))["initContainers"]
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is False
    assert sidecar["securityContext"]["allowPrivilegeEscalation"] is False


def test_probes_and_resources_can_be_overridden() -> None:
    """Values are merged over the chart's own; the others stay."""
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


def test_pods_are_spread_with_their_pool() -> None:
    """A constraint without a selector applies to the pool's pods."""
    rendered = render(CI / "hpa-values.yaml")
    (constraint,) = pod(rendered)["topologySpreadConstraints"]
    assert constraint["labelSelector"] == rendered["Deployment", "distq-worker-default"]["spec"]["selector"]
    assert pod(rendered)["priorityClassName"] == "batch"


def test_a_variant_of_the_images_is_a_suffix_of_their_common_tag() -> None:
    """It changes no tag that a component has of its own, such as that of a user's image."""
    values = {"image": {"variant": "minimal"}, "workerPools": {"own": {"image": {"repository": "own", "tag": "3"}}}}
    rendered = render(values)
    assert pod(rendered, "StatefulSet", "distq-master")["containers"][0]["image"] == f"distq-master:{VERSION}-minimal"
    assert worker(rendered, "own")["image"] == "own:3"
    assert worker(render({"image": {"tag": "7", "variant": "minimal"}}))["image"] == "distq-worker:7-minimal"
    assert "variant" in fails("helm", "template", "distq", CHART, "--set", "image.variant=small")


def test_images_come_from_a_registry_for_all_and_by_digest() -> None:
    """A digest wins over every tag, the image's registry over the global one."""
    rendered = render(CI / "outside-values.yaml")
    master = pod(rendered, "StatefulSet", "distq-master")["containers"][0]["image"]
    assert master.startswith("registry.example.com/distq-master@sha256:0123")
    assert worker(rendered)["image"].startswith("registry.example.com/distq-worker:")
    both = render({"global": {"imageRegistry": "theirs"}, "image": {"registry": "ours"}})
    assert worker(both)["image"].startswith("ours/")


def test_additional_objects_are_yaml_or_templates() -> None:
    """Both forms are rendered."""
    rendered = render(CI / "outside-values.yaml")
    assert rendered["ConfigMap", "own"]["data"] == {"of": "them"}
    assert rendered["ConfigMap", "distq-own"]["data"] == {"address": "distq-master:9000"}


def test_tasks_come_from_a_config_map_a_volume_or_an_image() -> None:
    """Each is mounted read-only at /app, where modules are found."""
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
    """The headless Service has the same pod behind it, and is left out."""
    rendered = render(CI / "monitoring-values.yaml")
    spec = rendered["ServiceMonitor", "distq-master"]["spec"]
    services = [item["metadata"]["labels"] for (kind, _), item in rendered.items() if kind == "Service"]
    selected = spec["selector"]["matchLabels"].items()
    assert [("distq/headless" in labels) for labels in services if selected <= labels.items()] == [False, True]
    assert spec["selector"]["matchExpressions"] == [{"key": "distq/headless", "operator": "DoesNotExist"}]
    monitor = rendered["PodMonitor", "distq-worker-default"]
    labels = rendered["Deployment", "distq-worker-default"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["metadata"]["labels"]["release"] == "stack"


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("master.replicas=2", "Set master.store to a PostgreSQL database"),
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
        ("page.ingress.enabled=true", "page.ingress.enabled needs page.ingress.host"),
        ("page.httpRoute.enabled=true", "page.httpRoute.enabled needs page.httpRoute.parentRefs"),
        ("master.env.DISTQ_CAPACITY=1000000000", "Raise master.storage.size, or lower the capacity"),
    ],
)
def test_contradicting_values_are_an_error_that_says_what_to_do(mistake: str, sentence: str) -> None:
    """Rendering fails, so nothing is applied."""
    assert sentence in fails("helm", "template", "distq", CHART, "--set", mistake)


def test_the_page_is_reached_from_outside_only_by_a_switch() -> None:
    """An Ingress and an HTTPRoute have the page's paths alone: metrics and the API stay inside the cluster."""
    assert not [kind for kind, _ in render() if kind in {"Ingress", "HTTPRoute"}]
    rules = render(CI / "page-values.yaml")["Ingress", "distq-master-page"]["spec"]["rules"]
    (host,) = rules
    assert host["host"] == "distq.example.com"
    paths = [(path["path"], path["pathType"]) for path in host["http"]["paths"]]
    assert paths == [("/", "Exact"), ("/page", "Prefix"), ("/api/v1/overview", "Exact")]
    gateway = {"name": "public", "namespace": "gateways"}
    values = {"page": {"httpRoute": {"enabled": True, "parentRefs": [gateway], "hostnames": ["distq.example.com"]}}}
    route = render(values)["HTTPRoute", "distq-master-page"]["spec"]
    assert (route["parentRefs"], route["hostnames"]) == ([gateway], ["distq.example.com"])
    (rule,) = route["rules"]
    assert [match["path"] for match in rule["matches"]] == [
        {"type": "Exact", "value": "/"},
        {"type": "PathPrefix", "value": "/page"},
        {"type": "Exact", "value": "/api/v1/overview"},
    ]
    assert rule["backendRefs"] == [{"name": "distq-master", "port": 9001}]


def test_an_old_kubernetes_gets_an_error_for_image_volumes() -> None:
    """Image volumes exist since 1.35."""
    error = fails("helm", "template", "distq", CHART, "--kube-version", "1.34", "--set", f"{POOL}.tasksFrom.image=x")
    assert "tasksFrom.image needs Kubernetes 1.35, and this is v1.34.0" in error


def test_the_default_capacity_fits_the_default_volume() -> None:
    """The default is ten million tasks."""
    assert render({"master": {"env": {"DISTQ_CAPACITY": 10_000_000}}})
