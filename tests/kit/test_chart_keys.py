"""Keys with roles in the chart: the master alone gets all keys, and workers get a key of their own."""

from typing import Any

from tests.kit.chart import CI, Rendered, env_of, render
from tests.kit.shell import CHART, fails


def secrets_of(rendered: Rendered, kind: str, name: str) -> dict[str, Any]:
    """Return the Secrets of a pod by the names of its volumes."""
    volumes = rendered.pods()[kind, name]["volumes"]
    return {volume["name"]: volume["secret"] for volume in volumes if "secret" in volume}


def test_a_release_without_role_keys_has_the_authkey_alone() -> None:
    """No pod has a volume or a setting of keys with roles."""
    for _, pod, container in render().containers():
        assert "DISTQ_KEYS_PATH" not in env_of(container)
        assert not [volume for volume in pod["volumes"] if volume["name"] == "keys"]


def test_the_master_alone_mounts_the_secret_of_all_keys() -> None:
    """Workers have only their own key, whose Secret and entry the values name; the chart's tests keep the authkey."""
    rendered = render(CI / "keys-values.yaml")
    master = secrets_of(rendered, "StatefulSet", "distq-master")
    assert master["keys"] == {"secretName": "role-keys", "defaultMode": 0o440}
    assert master["authkey"]["secretName"] == "own"
    (container,) = rendered.pods()["StatefulSet", "distq-master"]["containers"]
    assert env_of(container)["DISTQ_KEYS_PATH"] == "/etc/distq-keys"
    assert {"name": "keys", "mountPath": "/etc/distq-keys", "readOnly": True} in container["volumeMounts"]
    worker = secrets_of(rendered, "Deployment", "distq-worker-default")
    assert list(worker) == ["authkey"]
    assert worker["authkey"]["secretName"] == "worker-key"
    assert worker["authkey"]["items"] == [{"key": "key", "path": "authkey"}]
    assert secrets_of(rendered, "Pod", "distq-test-tasks")["authkey"]["secretName"] == "own"


def test_a_key_of_the_workers_needs_the_keys_of_the_master() -> None:
    """Otherwise the master would refuse every worker."""
    assert "set keys.existingSecret" in fails("helm", "template", "distq", CHART, "--set", "keys.workerSecret=own")
