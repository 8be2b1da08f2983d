"""Tests of operators' actions on a running release: scale, drain, upgrade, rotate a key, block traffic.

Each task ends once. As in test_cluster, the tests use the current `kubectl` context, and claim one volume of the
default class. They drain one node of its workers, and then enable it again.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.kit.cluster.release import CLIENT_LABEL, Release, last_line, namespace
from tests.kit.shell import VERSION, run, wait_for_value

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]

NAP_S = 0.5
NEXT = f"{VERSION}-next"
"""A second tag of the same images: `docker tag` creates it, and it is loaded too."""
REACH = """
import socket, time

def reached(port, until):
    while time.monotonic() < until:
        try:
            socket.create_connection(("distq-master", port), timeout=5).close()
        except OSError:
            time.sleep(0.2)  # the network's rules learn of a new pod after its start
        else:
            return "reached"
    return "refused"

print(reached(9001, time.monotonic() + 30), reached(9000, time.monotonic() + 10))
"""
SPIN = """
import distq

with distq.Client() as client:
    futures = [client.submit_named("spin", [5]) for _ in range(30)]
    print(sum(future.result() for future in futures))
"""
FILL = """
import distq

with distq.Client() as client:
    error = client.options(queue="small").submit_named("fill", [400_000_000]).exception(60)
    print(type(error).__name__, error)
"""
LOST = """
import distq

with distq.Client() as client:
    error = client.options(queue="lost", max_deliveries=2).submit_named("nap", [600]).exception(240)
    print(type(error).__name__, error)
"""
CONNECT = """
import distq

try:
    distq.Client().submit_named("nap", [0]).result(10)
except distq.DistqError as error:
    print(type(error).__name__)
"""


@pytest.fixture(name="release", scope="module")
def install() -> Iterator[Release]:
    """Yield a release whose workers run the tests' tasks."""
    with namespace() as release:
        values = release.mount_test_tasks()
        values["master"] = {"storage": {"keep": False}}
        release.install(values)
        yield release


def values_of(release: Release) -> dict[str, Any]:
    """Return the values of the release."""
    found: dict[str, Any] = yaml.safe_load(release.helm("get", "values", "distq", "--output", "yaml"))
    return found


def loaded(release: Release, count: int) -> "subprocess.Popen[str]":
    """Start a client that submits naps and waits for all of them; return it when some naps run."""
    client = release.submit_naps_apart(count, NAP_S)
    wait_for_value(release.busy_slots, lambda found: sum(found.values()) > 0, within_s=60)
    return client


def all_ended_once(release: Release, client: "subprocess.Popen[str]", count: int) -> None:
    """Check that every task has its one result, none is left, and none is dead."""
    assert last_line(client, timeout_s=300).split() == [str(count), "results"]
    counts = release.counts()
    assert (counts["ready"], counts["leased"], counts["dead"]) == (0, 0, 0)


def wait_for_workers(release: Release, count: int) -> None:
    """Wait until exactly this number of workers is connected; a replaced pod drains after the rollout has ended."""
    wait_for_value(lambda: release.total("distq_workers"), lambda found: found == count, within_s=90)


def killed(release: Release) -> float:
    """Return how many deliveries have ended without a settle."""
    return release.total("distq_task_redeliveries_total")


def test_a_change_of_replicas_under_load_kills_no_task(release: Release) -> None:
    """`kubectl scale` up and down removes only pods that have drained."""
    before = killed(release)
    client = loaded(release, 120)
    for replicas in (4, 1, 2):
        release.kubectl("scale", "deployment/distq-worker-default", f"--replicas={replicas}")
        release.kubectl("rollout", "status", "deployment/distq-worker-default", "--timeout", "120s")
    all_ended_once(release, client, 120)
    assert killed(release) == before


def test_an_upgrade_to_another_image_and_back_under_load_loses_nothing(release: Release) -> None:
    """`helm upgrade` with a new tag, then `helm rollback`, replace master and workers twice."""
    values = values_of(release)
    client = loaded(release, 200)
    release.upgrade({**values, "image": {"tag": NEXT}})
    images = release.kubectl("get", "pods", "--output", "jsonpath={.items[*].spec.containers[0].image}").split()
    assert f"distq-master:{NEXT}" in images
    assert f"distq-worker:{NEXT}" in images
    release.helm("rollback", "distq", "--wait", "--timeout", "180s")
    assert client.poll() is None, "it was to happen in mid-load"
    all_ended_once(release, client, 200)


def test_a_drained_node_evicts_one_pod_of_a_pool_at_a_time(release: Release) -> None:
    """`kubectl drain` leaves the second worker while the first one's replacement has no node; no task is lost."""
    (node,) = release.kubectl("get", "nodes", "--output", "name").split()[:1]
    client = loaded(release, 120)
    before = set(release.names("pods", "app.kubernetes.io/component=worker"))

    def removed_pods() -> set[str]:
        return before - set(release.names("pods", "app.kubernetes.io/component=worker"))

    drain = ["kubectl", "drain", node, "--pod-selector", "app.kubernetes.io/component=worker", "--timeout", "40s"]
    try:
        with subprocess.Popen(
            [*drain, "--ignore-daemonsets", "--delete-emptydir-data"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as draining:
            wait_for_value(removed_pods, lambda found: len(found) == 1, within_s=40)
            assert draining.wait(60) != 0
        assert len(removed_pods()) == 1
    finally:
        run("kubectl", "uncordon", node)
    release.kubectl("rollout", "status", "deployment/distq-worker-default", "--timeout", "120s")
    all_ended_once(release, client, 120)


def test_a_pod_without_the_label_cannot_reach_the_master(release: Release) -> None:
    """A pod with the label can connect; every pod can read the metrics, and the workers continue."""
    assert release.runs(REACH, {}).split() == ["reached", "refused"]
    assert release.runs(REACH).split() == ["reached", "reached"]
    wait_for_workers(release, 2)


def test_a_wrong_key_shows_in_logs_and_metrics(release: Release) -> None:
    """The client with the wrong key gets an error, too."""
    before = release.total("distq_auth_failures_total")
    assert release.runs(CONNECT, DISTQ_AUTHKEY=secrets.token_hex(16)).strip() == "AuthenticationFailed"
    assert release.total("distq_auth_failures_total") > before
    logged = [json.loads(line) for line in release.kubectl("logs", "distq-master-0").splitlines() if line[:1] == "{"]
    assert [line for line in logged if line["event"] == "peer_turned_away"]


def test_a_task_over_memory_is_a_dead_letter_that_says_so(release: Release) -> None:
    """The kernel enforces the container's limit, and the supervisor survives its executor."""
    values = values_of(release)
    limits = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "192Mi"}}
    small = {**values["workerDefaults"], "replicas": 1, "queues": ["small"], "resources": limits}
    release.upgrade({**values, "workerPools": {"default": None, "small": small}})
    output = release.runs(FILL)
    assert "out of memory" in output
    dead = release.kubectl("exec", "statefulset/distq-master", "--", "distq", "dead", "list", "--queue", "small")
    assert "out of memory" in dead
    release.kubectl("exec", "statefulset/distq-master", "--", "distq", "dead", "purge", "--queue", "small", "--yes")
    release.upgrade(values)


def test_a_task_whose_whole_pod_dies_is_a_dead_letter_that_says_so(release: Release) -> None:
    """Executor and supervisor die together, as with little memory on cgroup v2: no process can report the cause."""
    client = release.pod(["python3", "-c", LOST], CLIENT_LABEL, {})
    for _ in range(2):
        busy = wait_for_value(release.busy_slots, lambda found: sum(found.values()) > 0, within_s=60)
        victim = next(pod for pod, count in busy.items() if count)
        release.kubectl("delete", victim, "--grace-period=0", "--force")
    release.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{client}", "--timeout", "60s")
    output = release.kubectl("logs", client)
    assert "its whole worker was lost: killed, out of memory, evicted, or cut off" in output
    distq = ("exec", "statefulset/distq-master", "--", "distq", "dead")
    assert "its whole worker was lost" in release.kubectl(*distq, "list", "--queue", "lost")
    release.kubectl(*distq, "purge", "--queue", "lost", "--yes")


def test_a_poller_of_the_slot_count_scales_a_pool_from_zero_and_back(release: Release) -> None:
    """A poller of `/api/v1/autoscale` scales from zero to four pods under load and back to zero; no task is killed."""
    before, slots, seen = killed(release), 2, []

    def polled() -> int:
        found: int = json.loads(release.get_http("/api/v1/autoscale?queues=default"))["desired_slots"]
        replicas = min(4, -(-found // slots))
        if replicas != release.replicas():
            release.kubectl("scale", "deployment/distq-worker-default", f"--replicas={replicas}")
        seen.append(replicas)
        return replicas

    release.kubectl("scale", "deployment/distq-worker-default", "--replicas=0")
    client = release.submit_naps_apart(160, NAP_S)
    wait_for_value(polled, lambda wanted: wanted == 4, within_s=60, every_s=1)
    wait_for_value(polled, lambda wanted: wanted == 0, within_s=240, every_s=1)
    all_ended_once(release, client, 160)
    assert killed(release) == before
    assert max(seen) == 4
    release.kubectl("scale", "deployment/distq-worker-default", "--replicas=2")
    release.kubectl("rollout", "status", "deployment/distq-worker-default", "--timeout", "120s")


def test_a_key_is_rotated_without_an_interruption(release: Release) -> None:
    """Both keys are valid while pods are replaced one after another: old, old and new, new and old, new."""
    old, new = release.authkey(), secrets.token_hex(16)
    values = {**values_of(release), "authkey": {"existingSecret": "own"}}
    release.kubectl("create", "secret", "generic", "own", f"--from-literal=authkey={old}")
    release.upgrade(values)
    release.secret = "own"
    client = loaded(release, 400)
    for keys in (f"{old},{new}", f"{new},{old}"):
        release.kubectl("patch", "secret", "own", "--patch", json.dumps({"stringData": {"authkey": keys}}))
        release.upgrade(values)
    all_ended_once(release, client, 400)
    release.kubectl("patch", "secret", "own", "--patch", json.dumps({"stringData": {"authkey": new}}))
    release.upgrade(values)
    assert release.kubectl("exec", "statefulset/distq-master", "--", "distq", "key", "show").strip() == new
    wait_for_workers(release, 2)


def test_cpu_scales_a_pool_up_and_down(release: Release) -> None:
    """A HorizontalPodAutoscaler of the chart adds pods for a task that computes, and removes them afterwards."""
    values = values_of(release)
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 15}, "scaleUp": {"stabilizationWindowSeconds": 0}}
    values["workerDefaults"] |= {
        "concurrency": 1,
        "hpa": {"enabled": True, "minReplicas": 1, "maxReplicas": 3, "cpuPercent": 50, "behavior": behavior},
    }
    release.upgrade(values)
    before = killed(release)
    command = ["kubectl", "--namespace", release.namespace, "exec", "statefulset/distq-master", "--"]
    with subprocess.Popen([*command, "python3", "-c", SPIN], stdout=subprocess.PIPE, text=True) as client:
        wait_for_value(release.replicas, lambda found: found >= 2, within_s=120)
        assert client.communicate(timeout=200)[0].strip() == "30"
    wait_for_value(release.replicas, lambda found: found == 1, within_s=200)
    assert killed(release) == before


DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}


def test_a_release_with_no_values_works_in_a_namespace_that_denies_all_traffic() -> None:
    """The chart finds the policy, and allows its pods to reach the master and DNS."""
    with namespace() as release:
        release.kubectl("apply", "--filename", "-", given=json.dumps(DENY_ALL))
        release.install({"master": {"storage": {"keep": False}}})
        assert "networkpolicy.networking.k8s.io/distq-egress" in release.names("networkpolicies")
        assert "square(2) is 4" in release.helm("test", "distq", "--logs")


def test_the_switch_to_an_autoscaler_keeps_the_pods_that_run() -> None:
    """Three fixed pods that get an HPA keep running, also at the next upgrade."""
    with namespace() as release:
        values: dict[str, Any] = {"master": {"storage": {"keep": False}}, "workerDefaults": {"replicas": 3}}
        release.install(values)
        before = set(release.names("pods", "app.kubernetes.io/component=worker"))
        hpa = {"enabled": True, "minReplicas": 3, "maxReplicas": 5}
        for period in (10, 20):
            scaled = {"default": {"hpa": hpa}}
            release.upgrade({**values, "workerPools": scaled, "serviceMonitor": {"interval": f"{period}s"}})
            assert release.replicas() == 3
            assert set(release.names("pods", "app.kubernetes.io/component=worker")) == before
