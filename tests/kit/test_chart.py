"""The rendered chart: what every value changes, and what no value can change."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.kit.chart import CI, GOLDEN, NEWEST, Rendered, env_of, golden, render, worker
from tests.kit.shell import CHART, VERSION, fails, run
from tests.tidy.tree import ROOT

SCENARIOS: list[Path | None] = [None, *sorted(CI.glob("*-values.yaml"))]
NAMES = ["no-values", *(path.name.removesuffix("-values.yaml") for path in SCENARIOS[1:] if path)]
OLDEST = "1.29"
CRDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "tests/kit/crds").glob("*.json")}
"""Schemas of objects that operators define, by kind; kept as files, because no one cluster has all definitions."""


@pytest.fixture(name="rendered", params=SCENARIOS, ids=NAMES, scope="module")
def render_scenario(request: pytest.FixtureRequest) -> Rendered:
    """Return the chart without values, and with the values of each file in helm/ci."""
    return render(request.param)


@pytest.fixture(name="plain", scope="module")
def render_plain() -> Rendered:
    """Return the chart without values."""
    return render()


@pytest.mark.parametrize("values", SCENARIOS, ids=NAMES)
def test_helm_lint_finds_no_fault(values: Path | None) -> None:
    """`helm lint --strict` accepts the values of each scenario."""
    chosen: list[str | Path] = ["--values", values] if values else []
    run("helm", "lint", "--strict", "--quiet", CHART, *chosen)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(rendered: Rendered, version: str, tmp_path: Path) -> None:
    """Each object fits the schema of the oldest and of the newest Kubernetes, and has no other field."""
    known = [item for item in rendered.values() if item["kind"] not in CRDS]
    if version == OLDEST:  # on which the chart itself refuses image volumes
        known = [item for item in known if '"image": {"reference"' not in json.dumps(item)]
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(known), encoding="utf-8")
    run("kubernetes-validate", "--strict", "--no-warn", "--kubernetes-version", version, path)


def test_operators_know_every_field(rendered: Rendered) -> None:
    """The objects for the Prometheus operator and for KEDA fit their definitions."""
    for (kind, _), item in rendered.items():
        if kind in CRDS:
            jsonschema.validate(item, CRDS[kind])


def test_the_scenarios_render_every_kind_that_operators_define() -> None:
    """Each definition in tests/kit/crds is thus used by the test above, at least once."""
    kinds = {kind for values in SCENARIOS for kind, _ in render(values)}
    assert kinds >= CRDS.keys()


@pytest.mark.parametrize("values", SCENARIOS[1:], ids=NAMES[1:])
def test_manifests_are_the_reviewed_ones(values: Path) -> None:
    """Run `python -m tests.kit.chart` after a change, review the difference, and commit both."""
    assert (GOLDEN / values.name.replace("-values", "")).read_text(encoding="utf-8") == golden(values)


def test_golden_manifests_exist_for_at_least_eight_scenarios_and_for_no_other() -> None:
    """No manifest is left of a removed scenario."""
    golden_names = {path.stem for path in GOLDEN.glob("*.yaml")}
    assert golden_names == set(NAMES[1:])
    assert len(golden_names) >= 8


def test_every_pod_is_restricted(rendered: Rendered) -> None:
    """Every pod satisfies Pod Security `restricted` and has a read-only root."""
    for _, pod, container in rendered.containers():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_has_a_token_or_variables_of_services(rendered: Rendered) -> None:
    """No pod calls Kubernetes, and a Service's variable DISTQ_MASTER_PORT would look like a setting."""
    for pod in rendered.pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False


def test_no_key_of_a_list_is_used_twice(rendered: Rendered) -> None:
    """Server-side apply refuses two variables, ports, volumes or mount paths with one key."""
    for name, pod, container in rendered.containers():
        env_of(container)
        for key, entries in [
            ("name", container.get("ports", [])),
            ("containerPort", container.get("ports", [])),
            ("mountPath", container["volumeMounts"]),
            ("name", pod["volumes"]),
        ]:
            found = [entry[key] for entry in entries]
            assert len(set(found)) == len(found), (name, found)
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_every_selector_selects_only_its_own_pods(rendered: Rendered) -> None:
    """A pool's Deployment never counts the pods of another pool, nor of another release."""
    owners = {key: item for key, item in rendered.items() if key[0] in {"Deployment", "StatefulSet"}}
    for key, owner in owners.items():
        selector = owner["spec"]["selector"]["matchLabels"].items()
        chosen = [
            other
            for other, item in owners.items()
            if selector <= item["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert chosen == [key]
        assert ("app.kubernetes.io/instance", "distq") in selector


def test_services_lead_to_the_master(rendered: Rendered) -> None:
    """The Services select the master's pods, and their ports are the container's; a StatefulSet has one of its own."""
    master = next(
        item for (_, name), item in rendered.items() if name.endswith("-master") and "template" in item.get("spec", {})
    )
    template = master["spec"]["template"]
    services = {name: item for (kind, name), item in rendered.items() if kind == "Service"}
    assert len(services) == (2 if master["kind"] == "StatefulSet" else 1)
    assert master["spec"].get("serviceName") in {*services, None}
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    for service in services.values():
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} == ports


def test_the_grace_period_is_longer_than_the_drain(rendered: Rendered) -> None:
    """The kubelet kills a worker only after it has handed back its unfinished tasks."""
    for (kind, name), pod in rendered.pods().items():
        if kind != "Pod":
            drain_s = float(env_of(pod["containers"][0])["DISTQ_DRAIN_S"])
            assert pod["terminationGracePeriodSeconds"] > drain_s, name


def test_every_container_is_probed(rendered: Rendered) -> None:
    """Liveness asks whether the process answers, readiness whether it can do its work."""
    for (kind, _), pod in rendered.pods().items():
        if kind != "Pod":
            container = pod["containers"][0]
            paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
            assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_no_pod_contains_the_version_of_chart_or_release(rendered: Rendered) -> None:
    """An upgrade to a new chart that changes no pod restarts no pod."""
    for (kind, _), item in rendered.items():
        if kind in {"Deployment", "StatefulSet"}:
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_the_default_release_has_one_master_and_a_pool_of_two(plain: Rendered) -> None:
    """`helm install distq ./helm` creates these objects."""
    assert set(plain) == {
        ("Secret", "distq-authkey"),
        ("PersistentVolumeClaim", "distq-master"),
        ("Service", "distq-master"),
        ("Service", "distq-master-headless"),
        ("StatefulSet", "distq-master"),
        ("Deployment", "distq-worker-default"),
        ("Pod", "distq-test-plain"),
        ("Pod", "distq-test-tasks"),
        ("PodDisruptionBudget", "distq-worker-default"),
        ("NetworkPolicy", "distq-master"),
        ("NetworkPolicy", "distq-worker"),
    }
    assert plain["StatefulSet", "distq-master"]["spec"]["replicas"] == 1
    assert plain["Deployment", "distq-worker-default"]["spec"]["replicas"] == 2
    assert {container["image"] for _, _, container in plain.containers()} == {
        f"distq-master:{VERSION}",
        f"distq-worker:{VERSION}",
    }


def test_the_volume_is_a_separate_object(plain: Rendered) -> None:
    """It can be resized, and `helm uninstall` leaves it."""
    claim = plain["PersistentVolumeClaim", "distq-master"]
    assert "volumeClaimTemplates" not in plain["StatefulSet", "distq-master"]["spec"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "storageClassName" not in claim["spec"]
    thrown_away = render({"master": {"storage": {"keep": False, "className": "fast", "size": "1Gi"}}})
    claim = thrown_away["PersistentVolumeClaim", "distq-master"]
    assert "annotations" not in claim["metadata"]
    assert claim["spec"]["storageClassName"] == "fast"


def test_a_generated_key_is_generated_once() -> None:
    """Secret and checksum use one key: a second key would restart every pod at the first upgrade."""
    first, second = render(), render()
    keys = {item["Secret", "distq-authkey"]["data"]["authkey"] for item in (first, second)}
    assert len(keys) == 2
    for rendered in (first, second):
        checksums = {
            item["spec"]["template"]["metadata"]["annotations"]["checksum/authkey"]
            for (kind, _), item in rendered.items()
            if kind in {"Deployment", "StatefulSet"}
        }
        assert len(checksums) == 1


def test_an_existing_secret_wins() -> None:
    """With `authkey.existingSecret` the chart creates no Secret, and every pod mounts the existing one."""
    rendered = render({"authkey": {"existingSecret": "own", "key": "key"}})
    assert not [key for key in rendered if key[0] == "Secret"]
    for pod in rendered.pods().values():
        secret = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "authkey")
        assert (secret["secretName"], secret["items"]) == ("own", [{"key": "key", "path": "authkey"}])


def test_every_configurable_name_is_used_everywhere() -> None:
    """Registry, tag and names are each given in one place."""
    rendered = render(CHART / "ci" / "everything-values.yaml")
    assert all(name.startswith("tasks-") for _, name in rendered)
    images = {container["image"] for _, _, container in rendered.containers()}
    assert images == {f"registry.example.com/team/distq-{what}:0.1.0-3" for what in ("master", "worker")}
    assert all(pod["imagePullSecrets"] == [{"name": "pull"}] for pod in rendered.pods().values())
    assert env_of(worker(rendered, release="tasks"))["DISTQ_ADDRESS"] == "tasks-master:9000"
    claims = [
        v["persistentVolumeClaim"]
        for v in rendered.pods()["StatefulSet", "tasks-master"]["volumes"]
        if len(v) and "persistentVolumeClaim" in v
    ]
    assert claims == [{"claimName": "own-data"}]
    assert ("PersistentVolumeClaim", "tasks-master") not in rendered


def test_two_releases_share_no_object() -> None:
    """Releases of different names can be installed in one namespace."""
    assert not set(render(release="distq")) & set(render(release="reports"))
    assert ("StatefulSet", "reports-distq-master") in render(release="reports")


def test_the_dashboards_are_the_ones_of_compose() -> None:
    """The ConfigMap contains the files that Compose mounts."""
    rendered = render({"dashboards": {"enabled": True}})
    config = rendered["ConfigMap", "distq-dashboards"]
    files = {f"distq-{path.name}": path for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in config["data"].items()} == {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()
    }
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_alerts_are_the_ones_of_compose() -> None:
    """The operator gets the rules that Compose's Prometheus reads, with the braces of Prometheus unchanged."""
    assert not any(kind == "PrometheusRule" for kind, _ in render())
    rule = render({"prometheusRule": {"enabled": True, "labels": {"release": "stack"}}})[
        "PrometheusRule", "distq-alerts"
    ]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "rules" / "distq.yaml").read_text(encoding="utf-8"))
    assert rule["metadata"]["labels"]["release"] == "stack"


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("workerPool.x=1", "Additional property workerPool is not allowed"),
        ("workerPools.GPU.replicas=1", "Additional property GPU is not allowed"),
        ("workerPools.default.replica=1", "Additional property replica is not allowed"),
        ("workerDefaults.replicas=two", "Invalid type"),
        ("workerDefaults.tasks=tasks.words", "Invalid type"),
        ("workerDefaults.tasks={tasks/words.py}", "Does not match pattern"),
        ("workerPools.default.queues={mail;reports}", "Does not match pattern"),
        ("workerDefaults.drainSeconds=-1", "greater than or equal to 0"),
        ("master.service.type=Ingress", "must be one of the following"),
        ("master.storage.size=lots", "Does not match pattern"),
    ],
)
def test_an_unknown_value_or_a_wrong_type_is_an_error(mistake: str, sentence: str) -> None:
    """The schema knows every value, and the error names the unknown one."""
    assert sentence in fails("helm", "template", "distq", CHART, "--set", mistake)
