"""Tests of charts with a PostgreSQL database as the store: one or several masters, and no volume."""

from typing import Any

import pytest
from tests.kit.chart import Object, Rendered, env_of, render
from tests.kit.shell import CHART, fails

URL = "postgresql://distq@db.example.com/distq"
SEVERAL: Object = {"replicas": 3, "store": {"url": URL, "existingSecret": "database"}}


def master(rendered: Rendered) -> tuple[Object, Object]:
    """Return the spec of the masters' Deployment, and its container."""
    spec: Object = rendered["Deployment", "distq-master"]["spec"]
    return spec, spec["template"]["spec"]["containers"][0]


def test_masters_on_a_database_are_a_deployment_without_a_volume() -> None:
    """They need no headless Service and no claim, and a new pod is ready before an old one ends."""
    rendered = render({"master": SEVERAL})
    spec, container = master(rendered)
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (3, {"maxSurge": 1, "maxUnavailable": 0})
    assert not [kind for kind, _ in rendered if kind in ("StatefulSet", "PersistentVolumeClaim")]
    assert ("Service", "distq-master-headless") not in rendered
    assert "/var/lib/distq" not in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["image"].startswith("distq-master-postgresql:")


def test_the_password_is_a_file_and_the_url_has_none() -> None:
    """A renewed password is used without a restart."""
    spec, container = master(render({"master": SEVERAL}))
    env = env_of(container)
    assert (env["DISTQ_STORE"], env["DISTQ_STORE_PASSWORD_FILE"]) == (URL, "/etc/distq-store/password")
    assert {"name": "store", "mountPath": "/etc/distq-store", "readOnly": True} in container["volumeMounts"]
    (volume,) = [one for one in spec["template"]["spec"]["volumes"] if one["name"] == "store"]
    assert volume["secret"]["secretName"] == "database"
    assert volume["secret"]["items"] == [{"key": "password", "path": "password"}]


def test_an_operators_secret_with_the_whole_url_is_enough() -> None:
    """As CloudNativePG makes it; nothing is mounted."""
    _, container = master(render({"master": {"store": {"existingSecret": "distq-db-app"}}}))
    assert env_of(container)["DISTQ_STORE"] == {"secretKeyRef": {"name": "distq-db-app", "key": "uri"}}
    assert "/etc/distq-store" not in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_each_master_gives_the_address_of_its_pod() -> None:
    """Kubernetes replaces a variable only if it comes earlier in the list."""
    _, container = master(render({"master": SEVERAL}))
    names = [entry["name"] for entry in container["env"]]
    assert names.index("ADDRESS_OF_POD") < names.index("DISTQ_ADVERTISE")
    assert env_of(container)["DISTQ_ADVERTISE"] == "$(ADDRESS_OF_POD):9000"


def test_several_masters_are_kept_apart_unless_a_value_says_otherwise() -> None:
    """Over nodes and zones, where that is possible; one master needs neither, and no budget."""
    rendered = render({"master": SEVERAL})
    pod = master(rendered)[0]["template"]["spec"]
    (preferred,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    budget = rendered["PodDisruptionBudget", "distq-master"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    own: Object = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    chosen = master(render({"master": {**SEVERAL, "affinity": own}}))[0]["template"]["spec"]
    assert chosen["affinity"] == own
    alone = render({"master": {**SEVERAL, "replicas": 1}})
    assert "affinity" not in master(alone)[0]["template"]["spec"]
    assert ("PodDisruptionBudget", "distq-master") not in alone


@pytest.mark.parametrize("restricted", [False, True])
def test_masters_may_reach_the_database_and_each_other(restricted: bool) -> None:
    """A master that stands by passes connections on to the leader; a master on a file opens none."""
    peers: list[Any] = [{"ipBlock": {"cidr": "10.1.2.3/32"}}]
    rendered = render({"master": SEVERAL, "networkPolicy": {"storeTo": peers if restricted else []}})
    policy = rendered["NetworkPolicy", "distq-master"]["spec"]
    own = {"podSelector": policy["podSelector"]}
    assert own in policy["ingress"][0]["from"]
    if restricted:
        assert policy["egress"][0] == {"to": peers}
        assert policy["egress"][1] == {"ports": [{"port": "wire"}], "to": [own]}
        assert [port["port"] for port in policy["egress"][2]["ports"]] == [53, 53]
    else:
        assert policy["egress"] == [{}]
    assert render()["NetworkPolicy", "distq-master"]["spec"]["egress"] == []


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("master.replicas=2", "two masters on one volume would be two writers of one file. Set master.store"),
        ("master.replicas=2,master.env.DISTQ_STORE=sqlite:////data/q.db", "Set master.store to a PostgreSQL database"),
        (f"master.store.url={URL},master.env.DISTQ_STORE=memory:", "both name a store. Remove master.env.DISTQ_STORE"),
        (f"master.store.url={URL},master.storage.existingClaim=old", "has no effect with master.store"),
        ("master.store.url=postgresql://distq:secret@db/distq", "Put it into a Secret"),
        ("master.store.url=sqlite:////data/q.db", "master.store.url"),
        (f"master.store.url={URL},master.replicas=3,master.podDisruptionBudget.maxUnavailable=0", "blocks every"),
        (f"master.store.url={URL},master.replicas=3,workerDefaults.keda.enabled=true", "Set workerPools.default.keda"),
    ],
)
def test_a_mistake_with_masters_is_an_error_that_says_what_to_do(mistake: str, sentence: str) -> None:
    """The chart is not rendered."""
    assert sentence in fails("helm", "template", "distq", CHART, "--set", mistake)
