"""Tests of `helm install distq ./helm` on a real cluster: pods, key, upgrades and volumes.

The tests use the current `kubectl` context and create their namespaces. The cluster needs the images of this version:
on kind, `kind load docker-image distq-master:0.1.0 distq-worker:0.1.0`. The tests claim three volumes of the default
class, and one of a class that they create.
"""

import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from tests.kit.chart import NEWEST
from tests.kit.cluster.release import Release, last_line, namespace
from tests.kit.shell import CHART, CommandFailed, run, seconds_of, wait_for_value

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]

SQUARES = {str((number, number * number)) for number in range(10)}
MANY_NAPS = 200
READY_WITHIN_S = 60
OF_OPERATORS = {"PrometheusRule", "ServiceMonitor", "PodMonitor", "ScaledObject"}


@pytest.fixture(name="installed", scope="module")
def install() -> Iterator[tuple[Release, str]]:
    """Install the chart without values; yield the release and its NOTES."""
    with namespace() as release:
        notes = release.install()
        yield release, notes


@pytest.fixture(name="release")
def only_release(installed: tuple[Release, str]) -> Release:
    """Return the release without its NOTES."""
    return installed[0]


def commands(notes: str) -> list[list[str]]:
    """Return the commands that NOTES print."""
    return [shlex.split(line) for line in notes.splitlines() if re.match(r"  (helm|kubectl) ", line)]


def command(notes: str, *words: str) -> list[str]:
    """Return the one command of the NOTES that contains these words."""
    [found] = [line for line in commands(notes) if set(words) <= set(line)]
    return found


@contextmanager
def forwarded(words: list[str]) -> Iterator[str]:
    """Yield the local address of the master's port while a port-forward runs on a free port of this machine."""
    words = [f":{word}" if word in {"9000", "9001"} else word for word in words]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if match := re.match(r"Forwarding from (127\.0\.0\.1:\d+) -> 9000", line):
                    yield match[1]
                    break
        finally:
            process.terminate()


def test_helm_test_puts_a_task_and_waits_for_its_result(installed: tuple[Release, str]) -> None:
    """The command of the NOTES submits three numbers through each of the two clients, and gets their squares."""
    output = run(*command(installed[1], "test"))
    assert re.findall(r"Phase: +(\w+)", output) == ["Succeeded", "Succeeded"]
    assert {"(0, 0)", "(1, 1)", "(2, 4)"} <= set(output.splitlines())
    assert {"square(0) is 0", "square(1) is 1", "square(2) is 4"} <= set(output.splitlines())


def test_the_notes_show_the_workers(installed: tuple[Release, str]) -> None:
    """`distq status` in the master's container lists both workers."""
    output = run(*command(installed[1], "exec"))
    assert "2 workers" in output


def test_the_notes_lead_a_client_on_this_machine_to_its_results(installed: tuple[Release, str]) -> None:
    """With the port-forward and the key of the NOTES, a standard-library client gets its results."""
    release, notes = installed
    key = run(*command(notes, "secret"))
    assert key == release.authkey()
    with forwarded(command(notes, "port-forward")) as address:
        client = CHART / "files" / "client" / "squares.py"
        output = run(sys.executable, client, "10", DISTQ_ADDRESS=address, DISTQ_AUTHKEY=key)
    assert set(output.splitlines()) == SQUARES


def test_every_command_of_the_notes_has_a_test(installed: tuple[Release, str]) -> None:
    """The list of tested commands is complete: a command that is added to the NOTES must be added here."""
    assert [line[1] for line in commands(installed[1])] == ["test", "exec", "port-forward", "get", "delete"]


def test_a_pod_has_no_token_and_no_variables_of_services(release: Release) -> None:
    """A pod has no token to steal, and no variable that looks like a setting."""
    look = "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'), [n for n in os.environ if '_PORT' in n])"
    for pod in release.names("pods", "app.kubernetes.io/component in (master, worker)"):
        output = release.kubectl("exec", pod, "--", "python3", "-c", look).split(maxsplit=1)
        variables = [
            name for name in output[1].strip(" []\n").replace("'", "").split(", ") if name.startswith("DISTQ_")
        ]
        assert (output[0], variables) == ("False", [])


def test_an_upgrade_keeps_the_key_and_restarts_nothing(release: Release) -> None:
    """The Secret's key is the same, and so is every pod."""
    key, pods = release.authkey(), release.pods()
    assert len(pods) == 3
    release.upgrade()
    release.upgrade({"dashboards": {"enabled": True}})
    assert release.authkey() == key
    assert release.pods() == pods


def test_rendered_objects_apply_twice_without_a_conflict() -> None:
    """A second server-side apply, Helm 4's default, of the same objects reports no conflict."""
    with namespace() as release:
        # Without pods no volume is claimed; the test is about the objects only.
        release.kubectl("create", "quota", "none", "--hard=pods=0")
        for values in [None, *sorted((CHART / "ci").glob("*-values.yaml"))]:
            for _ in range(2):
                chosen = [] if values is None else ["--values", str(values)]
                # No pod starts, so the cluster's own version, which decides about image volumes, does not matter.
                chosen += ["--skip-tests", "--kube-version", NEWEST]
                rendered = release.helm("template", "distq", str(CHART), *chosen)
                # This cluster has no definitions of the operators' objects.
                objects = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] not in OF_OPERATORS]
                given = yaml.safe_dump_all(objects)
                output = release.kubectl("apply", "--server-side", "--filename", "-", given=given)
                assert "serverside-applied" in output
            release.kubectl("delete", "persistentvolumeclaims", "--all")


@pytest.mark.parametrize("how", ["gently", "at once"])
def test_the_deletion_of_a_worker_in_mid_task_loses_nothing(release: Release, how: str) -> None:
    """A deleted pod ends its item and task in the drain; without a grace period, another worker runs them again."""
    if not [name for name in release.names("configmaps") if name.endswith("/tasks")]:
        release.upgrade(release.mount_test_tasks())
    with release.submit("tasks.test:nap", "8") as submitted:
        release.client("work.put(8)")
        busy = wait_for_value(release.busy_slots, lambda found: sum(found.values()) == 2, within_s=20)
        now = [] if how == "gently" else ["--grace-period", "0", "--force"]
        release.kubectl("delete", *(pod for pod, slots in busy.items() if slots), "--wait=false", *now)
        assert submitted.communicate(timeout=120)[0].strip() == '"rested"'
    assert release.client("print(results.get(timeout=90))") == "rested"
    release.kubectl("rollout", "status", "deployment/distq-worker-default", "--timeout", "90s")


@pytest.mark.parametrize("how", ["gently", "at once"])
def test_p1_the_deletion_of_the_master_in_mid_load_loses_nothing(release: Release, how: str) -> None:
    """The master that replaces the deleted pod has every task, and each task has exactly one result."""
    if not [name for name in release.names("configmaps") if name.endswith("/tasks")]:
        release.upgrade(release.mount_test_tasks())
    with release.submit_naps(MANY_NAPS, 0.1) as submitting:
        wait_for_value(release.busy_slots, lambda found: sum(found.values()) > 0, within_s=30)
        now = [] if how == "gently" else ["--grace-period", "0", "--force"]
        release.kubectl("delete", "pod", "distq-master-0", *now)
        assert submitting.poll() is None, "it was to happen in mid-load"
        assert last_line(submitting, timeout_s=180).split() == [str(MANY_NAPS), "results"]
    release.kubectl("rollout", "status", "statefulset/distq-master", "--timeout", "90s")


def test_the_volume_outlives_an_uninstall(release: Release) -> None:
    """`helm uninstall` leaves the claim, the next install uses it, and the command of the NOTES deletes it."""
    claim = release.get("persistentvolumeclaim", "distq-master")
    release.helm("uninstall", "distq", "--wait")
    kept = release.get("persistentvolumeclaim", "distq-master")
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
    notes = release.install()
    assert release.get("persistentvolumeclaim", "distq-master")["spec"]["volumeName"] == claim["spec"]["volumeName"]
    release.helm("uninstall", "distq", "--wait")
    run(*command(notes, "delete"))
    assert release.names("persistentvolumeclaims") == []


def test_a_release_with_an_existing_key_is_ready_in_less_than_a_minute() -> None:
    """A release with `existingSecret`, another name, and two pools is ready within 60 s and passes `helm test`."""
    with namespace() as release:
        release.kubectl("create", "secret", "generic", "own", "--from-literal=key=a-key-of-ones-own-in-a-secret")
        values = {
            "authkey": {"existingSecret": "own", "key": "key"},
            "master": {"storage": {"keep": False}},
            "workerDefaults": {"replicas": 1},
            "workerPools": {"default": {"queues": ["work"]}, "more": {"concurrency": 1, "queues": ["mail"]}},
        }
        assert seconds_of(lambda: release.install(values, name="reports")) < READY_WITHIN_S
        assert len(release.names("pods", "app.kubernetes.io/component=worker")) == 2
        for pool in ("default", "more"):
            assert len(release.names("pods", f"distq/pool={pool}")) == 1
        output = release.helm("test", "reports", "--logs")
        assert {"(2, 4)", "square(2) is 4"} <= set(output.splitlines())
        assert release.names("secrets", "app.kubernetes.io/name=distq") == []
        release.helm("uninstall", "reports", "--wait")
        assert release.names("persistentvolumeclaims") == []


EXPANDABLE = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAME}
provisioner: kubernetes.io/no-provisioner
allowVolumeExpansion: true
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  storageClassName: NAME
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /tmp/NAME}
"""


@contextmanager
def expandable_class() -> Iterator[str]:
    """Yield a class with one volume whose claims can be enlarged; no driver enlarges the volume itself."""
    name = f"distq-test-{secrets.token_hex(3)}"
    objects = EXPANDABLE.replace("NAME", name)
    run("kubectl", "apply", "--filename", "-", given=objects)
    try:
        yield name
    finally:
        run("kubectl", "delete", "--filename", "-", "--wait=false", given=objects)


def test_a_value_resizes_the_volume() -> None:
    """`helm upgrade --set master.storage.size=2Gi` changes the claim, because it is a separate object."""
    with expandable_class() as name, namespace() as release:
        values = {"master": {"storage": {"className": name, "size": "1Gi", "keep": False}}}
        no_workers = {"workerDefaults": {"replicas": 0}}
        release.helm("install", "distq", str(CHART), values={**values, **no_workers})
        bound = "--for=jsonpath={.status.phase}=Bound"
        release.kubectl("wait", bound, "persistentvolumeclaim/distq-master", "--timeout", "60s")
        size = "master.storage.size=2Gi"
        release.helm("upgrade", "distq", str(CHART), "--reuse-values", "--set", size)
        claim = release.get("persistentvolumeclaim", "distq-master")
        assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
        assert claim["status"]["phase"] == "Bound"
        release.helm("uninstall", "distq")


TAKE_BACK = "workerPools.default.replicas=3"


@pytest.mark.helm4
def test_helm_4_installs_tests_upgrades_and_goes_back() -> None:
    """Server-side apply, Helm 4's default, reports no field that is set twice and no conflict."""
    with namespace() as release:
        release.binary = "helm4"
        values = {"master": {"storage": {"keep": False}}, "workerDefaults": {"replicas": 1}}
        release.install(values)
        assert "square(2) is 4" in release.helm("test", "distq", "--logs")
        before = release.pods()
        release.upgrade(values)
        assert release.pods() == before
        release.upgrade({**values, "workerPools": {"default": {"concurrency": 1}}})
        assert release.pods() != before
        release.helm("rollback", "distq", "2", "--wait", "--timeout", "120s")
        assert "square(2) is 4" in release.helm("test", "distq", "--logs")
        release.kubectl("scale", "deployment/distq-worker-default", "--replicas=2")
        with pytest.raises(CommandFailed, match="conflict"):
            release.upgrade({**values, "workerPools": {"default": {"replicas": 3}}})
        release.helm(
            "upgrade", "distq", str(CHART), "--reuse-values", "--set", TAKE_BACK, "--force-conflicts", "--wait"
        )
        assert release.replicas() == 3
        release.helm("uninstall", "distq", "--wait")
        assert release.names("persistentvolumeclaims") == []
