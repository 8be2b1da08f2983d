"""The checks of a release of the chart, cell by cell, and the program `kubectl`, of which a script takes the place."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distq.cli.app import run
from distq.cli.doctor.kubernetes import CHECKS, KubernetesFacts, facts_of, selects
from distq.cli.doctor.model import OK, PROBLEM, WARNING, examine

Object = dict[str, Any]
LABELS = {"app.kubernetes.io/component": "master", "app.kubernetes.io/instance": "distq"}
MASTER: Object = {
    "kind": "StatefulSet",
    "metadata": {"name": "distq-master"},
    "spec": {
        "replicas": 2,
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "tls", "secret": {"secretName": "certificate"}}],
                "containers": [
                    {
                        "name": "master",
                        "env": [{"name": "DISTQ_TLS_CERT", "value": "/etc/distq-tls/tls.crt"}],
                        "securityContext": {
                            "readOnlyRootFilesystem": True,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                        "livenessProbe": {"httpGet": {}},
                        "readinessProbe": {"httpGet": {}},
                    }
                ],
            },
        },
    },
}
POLICY: Object = {
    "kind": "NetworkPolicy",
    "metadata": {"name": "distq-master"},
    "spec": {
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "master"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"port": "wire"}], "from": [{"podSelector": {"matchLabels": {"distq/client": "true"}}}]},
            {"ports": [{"port": "http"}], "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        ],
    },
}
BUDGET: Object = {
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "distq-master"},
    "spec": {"selector": {"matchLabels": LABELS}},
}


def facts(change: Callable[[Object, Object, Object], object] = lambda *_: None) -> KubernetesFacts:
    """Return the facts of a hardened release after a change of its workload, policy and budget."""
    objects = copy.deepcopy((MASTER, POLICY, BUDGET))
    change(*objects)
    return facts_of(one for one in objects if one["kind"])


def pod(workload: Object) -> Object:
    """Return the spec of a workload's pods."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def own(workload: Object) -> Object:
    """Return the first container of a workload."""
    container: Object = pod(workload)["containers"][0]
    return container


def without(one: Object) -> None:
    """Take an object out of the release."""
    one["kind"] = ""


CELLS: list[tuple[str, Callable[[Object, Object, Object], object], str, str]] = [
    ("k8s-network-policy", lambda m, p, b: without(p), WARNING, "distq-master"),
    ("k8s-network-policy", lambda m, p, b: p["spec"].update(policyTypes=["Egress"]), WARNING, "distq-master"),
    (
        "k8s-network-policy",
        lambda m, p, b: p["spec"].update(podSelector={"matchLabels": {"app.kubernetes.io/component": "worker"}}),
        WARNING,
        "distq-master",
    ),
    ("k8s-metrics-from", lambda m, p, b: without(p), WARNING, "no NetworkPolicy"),
    (
        "k8s-metrics-from",
        lambda m, p, b: p["spec"]["ingress"][1].update({"from": [{"namespaceSelector": {}}]}),
        WARNING,
        "Every pod",
    ),
    ("k8s-clients-from", lambda m, p, b: p["spec"]["ingress"][0].pop("from"), WARNING, "Every address"),
    ("k8s-clients-from", lambda m, p, b: without(p), WARNING, "no NetworkPolicy"),
    (
        "k8s-secrets",
        lambda m, p, b: own(m)["env"].append({"name": "DISTQ_AUTHKEY", "value": "the-secret"}),
        PROBLEM,
        "distq-master/master (DISTQ_AUTHKEY)",
    ),
    (
        "k8s-secrets",
        lambda m, p, b: own(m)["env"].append({"name": "DISTQ_STORE", "value": "postgresql://distq:the-secret@db/x"}),
        PROBLEM,
        "(DISTQ_STORE)",
    ),
    (
        "k8s-security-context",
        lambda m, p, b: own(m)["securityContext"].pop("readOnlyRootFilesystem"),
        PROBLEM,
        "distq-master/master",
    ),
    (
        "k8s-security-context",
        lambda m, p, b: pod(m).update(initContainers=[{"name": "init", "securityContext": {"privileged": True}}]),
        PROBLEM,
        "distq-master/init",
    ),
    ("k8s-api-token", lambda m, p, b: pod(m).pop("automountServiceAccountToken"), WARNING, "distq-master"),
    ("k8s-tls", lambda m, p, b: own(m).update(env=[]), WARNING, "no certificate"),
    (
        "k8s-tls",
        lambda m, p, b: m["spec"]["template"]["metadata"].update(labels={}),
        OK,
        "Does not apply",
    ),
    ("k8s-disruption-budget", lambda m, p, b: without(b), WARNING, "distq-master"),
    ("k8s-disruption-budget", lambda m, p, b: (b.update(kind=""), m["spec"].update(replicas=1)), OK, "0 workloads"),
    (
        "k8s-resources",
        lambda m, p, b: own(m)["resources"].pop("limits"),
        WARNING,
        "distq-master (limits.memory)",
    ),
    ("k8s-resources", lambda m, p, b: own(m).pop("resources"), WARNING, "requests.cpu, requests.memory"),
    ("k8s-probes", lambda m, p, b: own(m).pop("livenessProbe"), WARNING, "livenessProbe"),
]


@pytest.mark.parametrize(("name", "change", "state", "text"), CELLS)
def test_a_check_of_a_release_judges_as_its_cell_says(
    name: str, change: Callable[[Object, Object, Object], object], state: str, text: str
) -> None:
    """The state is that of the cell, the finding names the object, and no value of a secret is in it."""
    (found,) = (one for one in examine("kubernetes", CHECKS, facts(change)) if one.check.name == name)
    assert (found.state, text in found.found) == (state, True), found.found
    assert "the-secret" not in found.found


def test_a_hardened_release_has_only_findings_that_are_ok() -> None:
    """Each check has a cell, and a release in order has none of them."""
    assert {found.check.name: found.state for found in examine("kubernetes", CHECKS, facts())} == dict.fromkeys(
        [check.name for check in CHECKS], OK
    )
    assert {name for name, *_ in CELLS} == {check.name for check in CHECKS}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_a_selector_matches_as_in_kubernetes(selector: Object | None, matches: bool) -> None:
    """Each operator, and the difference between no selector and an empty one."""
    assert selects(selector, {"a": "1"}) is matches


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program `kubectl` in front of the others."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_the_command_asks_kubectl_for_the_objects_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks for no Secret, and connects to no master with --no-connect."""
    (tmp_path / "objects.json").write_text(json.dumps({"items": [MASTER, POLICY, BUDGET]}))
    kubectl(tmp_path, monkeypatch, f'echo "$@" >{tmp_path}/asked; cat {tmp_path}/objects.json')
    assert run(["doctor", "--no-connect", "--strict", "--kubernetes", "shop/distq"]) == 0
    assert "10 checks: 10 ok" in capsys.readouterr().out
    asked = (tmp_path / "asked").read_text()
    assert "--namespace=shop -l=app.kubernetes.io/instance=distq" in asked
    assert "secret" not in asked


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo first >&2; echo 'The connection was refused' >&2; exit 1", "failed: The connection was refused"),
        ("echo none", "did not print a JSON object"),
        ("""echo '{"items": []}'""", "has no StatefulSet or Deployment of a release distq"),
    ],
)
def test_a_kubectl_that_cannot_answer_is_a_sentence(
    script: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing could be checked: exit code 2."""
    kubectl(tmp_path, monkeypatch, script)
    assert run(["doctor", "--no-connect", "--kubernetes", "shop/distq"]) == 2
    assert text in capsys.readouterr().err


def test_wrong_places_and_a_missing_program_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that nothing can be done with, too."""
    for place in ("distq", "a/b/c", "-A/distq", "shop/"):
        assert run(["doctor", "--no-connect", f"--kubernetes={place}"]) == 2
        assert "is not NAMESPACE/RELEASE" in capsys.readouterr().err
    assert run(["doctor", "--no-connect"]) == 2
    assert "leaves nothing to check" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["doctor", "--no-connect", "--kubernetes", "shop/distq"]) == 2
    assert "There is no program kubectl on PATH" in capsys.readouterr().err
