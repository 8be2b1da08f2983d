"""`distq doctor --kubernetes` on the objects of the chart: what the defaults give, and what hardened values give."""

from typing import Any

from tests.kit.chart import render

from distq.cli.doctor.kubernetes import CHECKS, facts_of
from distq.cli.doctor.model import OK, examine

HARDENED: dict[str, Any] = {
    "authkey": {"existingSecret": "own"},
    "keys": {"existingSecret": "role-keys", "workerSecret": "worker-key"},
    "tls": {"existingSecret": "certificate", "verifyClients": True, "clientSecret": "worker-certificate"},
    "payloadKeys": {"existingSecret": "payload-keys"},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "master": {"resources": {"limits": {"memory": "1Gi"}}},
    "workerDefaults": {"resources": {"limits": {"memory": "1Gi"}}},
}


def other_than_ok(values: dict[str, Any]) -> dict[str, str]:
    """Return the state of each finding about the rendered chart that is not ok."""
    facts = facts_of(render(values).values())
    assert len(facts.workloads) == 2
    findings = examine("kubernetes", CHECKS, facts)
    return {found.check.name: found.state for found in findings if found.state != OK}


def test_the_chart_with_its_defaults_gives_exactly_these_warnings() -> None:
    """None is a problem."""
    assert other_than_ok({}) == {"k8s-metrics-from": "warning", "k8s-resources": "warning", "k8s-tls": "warning"}


def test_the_chart_with_hardened_values_passes() -> None:
    """The values of the checklist are all that is needed."""
    assert other_than_ok(HARDENED) == {}


def test_a_key_in_a_value_of_the_chart_is_a_problem() -> None:
    """And a Service that is open to every address is a warning."""
    values: dict[str, Any] = {**HARDENED, "workerDefaults": {"env": {"DISTQ_SIGNING_KEY": "0123456789abcdef0"}}}
    assert other_than_ok(values) == {"k8s-secrets": "problem", "k8s-resources": "warning"}
    open_service = {**HARDENED, "master": {**HARDENED["master"], "service": {"type": "NodePort"}}}
    assert other_than_ok(open_service) == {"k8s-clients-from": "warning"}
