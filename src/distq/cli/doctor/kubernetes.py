"""The checks of a release of the chart: the objects that `kubectl` shows, and no Secret's content."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from distq.cli.doctor.compose import SECRETS
from distq.cli.doctor.model import OK, PROBLEM, WARNING, Check, Found, listed
from distq.cli.doctor.programs import CannotCheck, json_of
from distq.core.plurals import counted

KINDS: Final = "networkpolicies,statefulsets,deployments,poddisruptionbudgets"
RELEASE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
MASTER: Final = "master"
_PLACE: Final = re.compile(r"([a-z0-9][-a-z0-9]{0,62})/([a-z0-9][-.a-z0-9]{0,62})")
_PASSWORD: Final = re.compile(r"://[^/@:]*:[^/@]+@")
"""A password in the URL of a database."""

Object = Mapping[str, Any]
ANY_PORT: Final[Object] = {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesFacts:
    """The objects of a release."""

    workloads: tuple[Object, ...]
    """Its StatefulSets and Deployments."""
    policies: tuple[Object, ...]
    budgets: tuple[Object, ...]


def kubernetes_facts(namespace: str, release: str) -> KubernetesFacts:
    """Ask `kubectl` for the objects of a release. Raises CannotCheck."""
    found = json_of("kubectl", "get", KINDS, f"--namespace={namespace}", f"-l={RELEASE}={release}", "-o=json")
    facts = facts_of(found.get("items") or ())
    if not facts.workloads:
        raise CannotCheck(
            f"The namespace {namespace} has no StatefulSet or Deployment of a release {release}. `helm list "
            "--all-namespaces` shows the releases."
        )
    return facts


def read_place(text: str) -> tuple[str, str]:
    """Return the namespace and the release in `NAMESPACE/RELEASE`; raises ValueError."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not NAMESPACE/RELEASE, as in default/distq.")
    return match[1], match[2]


def facts_of(objects: Iterable[Object]) -> KubernetesFacts:
    """Sort objects by their kind."""
    by_kind: dict[str, list[Object]] = {}
    for one in objects:
        by_kind.setdefault(str(one.get("kind")), []).append(one)
    return KubernetesFacts(
        workloads=(*by_kind.get("StatefulSet", ()), *by_kind.get("Deployment", ())),
        policies=tuple(by_kind.get("NetworkPolicy", ())),
        budgets=tuple(by_kind.get("PodDisruptionBudget", ())),
    )


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def _labels(workload: Object) -> Mapping[str, str]:
    return (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}


def _containers(workload: Object) -> Iterator[tuple[str, Object]]:
    """Yield every container of a workload's pods, with its place."""
    pod = _pod(workload)
    for container in (*pod["containers"], *(pod.get("initContainers") or ())):
        yield f"{_name(workload)}/{container['name']}", container


def _own(workload: Object) -> Object:
    """The container of master or worker, which comes first."""
    container: Object = _pod(workload)["containers"][0]
    return container


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector of Kubernetes matches labels; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(one, labels) for one in selector.get("matchExpressions") or ())


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    name, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(name) in values
        case "NotIn":
            return labels.get(name) not in values
        case "Exists":
            return name in labels
        case _:
            return name not in labels


def _ingress_policies(facts: KubernetesFacts, workload: Object) -> list[Object]:
    return [
        policy
        for policy in facts.policies
        if "Ingress" in (policy["spec"].get("policyTypes") or ("Ingress",))
        and selects(policy["spec"].get("podSelector") or {}, _labels(workload))
    ]


def _network_policy(facts: KubernetesFacts) -> Found:
    free = [_name(workload) for workload in facts.workloads if not _ingress_policies(facts, workload)]
    if free:
        return Found(WARNING, f"No NetworkPolicy of the release selects the pods of {listed(free)}.")
    return Found(OK, f"A NetworkPolicy selects the pods of each of {counted(len(facts.workloads), 'workload')}.")


def _open_rules(facts: KubernetesFacts, port: str) -> list[str]:
    """The workloads of whose port a policy opens to all pods, or to every address."""
    return [
        _name(workload)
        for workload in facts.workloads
        for policy in _ingress_policies(facts, workload)
        for rule in policy["spec"].get("ingress") or ()
        if any(_opens(one, port) for one in rule.get("ports") or (ANY_PORT,)) and _is_for_all(rule.get("from"))
    ]


def _opens(port: Object, name: str) -> bool:
    return port.get("port") in (None, name)


def _is_for_all(peers: Iterable[Object] | None) -> bool:
    """Whether a rule's peers are every address, or every pod of the cluster."""
    return not peers or any(
        peer.get("namespaceSelector") == {} and not peer.get("podSelector") and "ipBlock" not in peer for peer in peers
    )


def _metrics_from(facts: KubernetesFacts) -> Found:
    every = sorted(set(_open_rules(facts, "http")))
    if every:
        return Found(WARNING, f"Every pod of the cluster reaches the HTTP port of {listed(every)}.")
    if _network_policy(facts).state != OK:
        return Found(WARNING, "Every pod of the cluster reaches the HTTP ports, as there is no NetworkPolicy for all.")
    return Found(OK, "Only chosen pods reach the HTTP ports.")


def _clients_from(facts: KubernetesFacts) -> Found:
    every = sorted(set(_open_rules(facts, "wire")))
    if every:
        return Found(WARNING, f"Every address reaches the port for workers and clients of {listed(every)}.")
    if _network_policy(facts).state != OK:
        return Found(WARNING, "Every pod of the cluster reaches the master, as there is no NetworkPolicy for all.")
    return Found(OK, "Only the release's workers, and chosen clients, reach the master.")


def _secrets(facts: KubernetesFacts) -> Found:
    plain = [
        f"{place} ({entry['name']})"
        for workload in facts.workloads
        for place, container in _containers(workload)
        for entry in container.get("env") or ()
        if _is_plain_secret(entry.get("name", ""), entry.get("value") or "")
    ]
    if plain:
        return Found(PROBLEM, f"These containers have a key or a password as a value: {listed(plain)}.")
    return Found(OK, "No container has a key or a password as a value.")


def _is_plain_secret(name: str, value: str) -> bool:
    return bool(value) and (name in SECRETS or (name == "DISTQ_STORE" and _PASSWORD.search(value) is not None))


def _security_context(facts: KubernetesFacts) -> Found:
    loose = [
        place
        for workload in facts.workloads
        for place, container in _containers(workload)
        if not _is_confined(_pod(workload).get("securityContext") or {}, container.get("securityContext") or {})
    ]
    if loose:
        return Found(PROBLEM, f"These containers have more rights than they need: {listed(loose)}.")
    return Found(OK, "Each container runs as a user without rights, with a read-only root and without capabilities.")


def _is_confined(of_pod: Object, own: Object) -> bool:
    merged = {**of_pod, **own}
    return (
        merged.get("runAsNonRoot") is True
        and own.get("readOnlyRootFilesystem") is True
        and own.get("allowPrivilegeEscalation") is False
        and not own.get("privileged")
        and "ALL" in ((own.get("capabilities") or {}).get("drop") or ())
        and (merged.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost")
    )


def _token(facts: KubernetesFacts) -> Found:
    with_token = [
        _name(workload)
        for workload in facts.workloads
        if _pod(workload).get("automountServiceAccountToken") is not False
    ]
    if with_token:
        return Found(WARNING, f"These pods get a token of the Kubernetes API: {listed(with_token)}.")
    return Found(OK, "No pod gets a token of the Kubernetes API.")


def _tls(facts: KubernetesFacts) -> Found:
    masters = [workload for workload in facts.workloads if _labels(workload).get(COMPONENT) == MASTER]
    if not masters:
        return Found(OK, "Does not apply: the release has no master.")
    plain = [_name(workload) for workload in masters if "DISTQ_TLS_CERT" not in _settings(workload)]
    if plain:
        return Found(WARNING, f"The master has no certificate: {listed(plain)}.")
    secrets = sorted({secret for workload in masters for secret in _secrets_of_volumes(workload, "tls")})
    return Found(OK, f"The master has a certificate, from the Secret {listed(secrets) or 'of a volume'}.")


def _settings(workload: Object) -> Mapping[str, Any]:
    return {entry["name"]: entry for entry in _own(workload).get("env") or () if entry.get("value") != ""}


def _secrets_of_volumes(workload: Object, name: str) -> Iterator[str]:
    for volume in _pod(workload).get("volumes") or ():
        if volume.get("name") == name and (secret := (volume.get("secret") or {}).get("secretName")):
            yield str(secret)


def _budgets(facts: KubernetesFacts) -> Found:
    several = [one for one in facts.workloads if one["spec"].get("replicas", 1) > 1]
    free = [
        _name(workload)
        for workload in several
        if not any(selects(budget["spec"].get("selector"), _labels(workload)) for budget in facts.budgets)
    ]
    if free:
        return Found(WARNING, f"No PodDisruptionBudget selects the pods of {listed(free)}.")
    return Found(OK, f"A PodDisruptionBudget selects each of {counted(len(several), 'workload')} of several pods.")


def _resources(facts: KubernetesFacts) -> Found:
    without = []
    for workload in facts.workloads:
        given = _own(workload).get("resources") or {}
        requests, limits = given.get("requests") or {}, given.get("limits") or {}
        missing = [f"requests.{name}" for name in ("cpu", "memory") if name not in requests and name not in limits]
        missing += [] if "memory" in limits else ["limits.memory"]
        if missing:
            without.append(f"{_name(workload)} ({', '.join(missing)})")
    if without:
        return Found(WARNING, f"These pods lack requests or limits: {listed(without)}.")
    return Found(OK, "Each pod has requests, and a limit of memory.")


def _probes(facts: KubernetesFacts) -> Found:
    without = [
        f"{_name(workload)} ({name})"
        for workload in facts.workloads
        for name in ("livenessProbe", "readinessProbe")
        if not _own(workload).get(name)
    ]
    if without:
        return Found(WARNING, f"These pods lack a probe: {listed(without)}.")
    return Found(OK, "Each pod has a liveness and a readiness probe.")


CHECKS: Final = (
    Check(
        "k8s-network-policy",
        "Keep the release's NetworkPolicies.",
        "Without one, every pod of the cluster reaches the ports of master and workers.",
        "Chart: networkPolicy.enabled. The cluster's network plugin has to enforce it, which the doctor cannot see.",
        _network_policy,
    ),
    Check(
        "k8s-metrics-from",
        "Name the scrapers that may reach the HTTP port.",
        "It needs no key for totals and metrics.",
        "Chart: networkPolicy.metricsFrom.",
        _metrics_from,
    ),
    Check(
        "k8s-clients-from",
        "Name the clients outside the release that may connect.",
        "An attacker who cannot connect cannot try keys.",
        "Chart: networkPolicy.clientsFrom.",
        _clients_from,
    ),
    Check(
        "k8s-secrets",
        "Take keys and passwords from Secrets, and name existing Secrets rather than values.",
        "A value is in the release, in the manifests, and in the view of each reader of the namespace.",
        "Chart: authkey.existingSecret, keys.existingSecret, payloadKeys.existingSecret; a Secret in master.env.",
        _secrets,
    ),
    Check(
        "k8s-security-context",
        "Run each container as a user without rights, read-only and without capabilities.",
        "Root in a container is root on the node if it finds a way out.",
        "The chart sets this for its own containers. Give init containers and sidecars of your own a `securityContext` "
        "that does not undo it.",
        _security_context,
    ),
    Check(
        "k8s-api-token",
        "Mount no token of the Kubernetes API.",
        "A task in wrong hands could use it; distq needs none.",
        "Set `automountServiceAccountToken: false`, as the chart does.",
        _token,
    ),
    Check(
        "k8s-tls",
        "Give the master a certificate.",
        "Traffic between pods crosses the network of the nodes.",
        "Chart: tls.existingSecret, or tls.certManager.enabled.",
        _tls,
    ),
    Check(
        "k8s-disruption-budget",
        "Keep a PodDisruptionBudget for each workload of several pods.",
        "A node drain may otherwise take all of them at the same time.",
        "Chart: master.podDisruptionBudget.enabled and workerDefaults.podDisruptionBudget.enabled.",
        _budgets,
    ),
    Check(
        "k8s-resources",
        "Set requests, and a limit of memory.",
        "Without a limit, a task that takes all memory ends other pods of its node.",
        "Chart: master.resources and workerDefaults.resources, such as {limits: {memory: 1Gi}}.",
        _resources,
    ),
    Check(
        "k8s-probes",
        "Keep the liveness and the readiness probe.",
        "Kubernetes does not restart a frozen process, and sends clients to a master that is not ready.",
        "Chart: master.probes and workerDefaults.probes change them; they are there by default.",
        _probes,
    ),
)
