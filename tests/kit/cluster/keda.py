"""Helpers that run KEDA in the cluster: the programs of tools/keda.sh with the manifests of KEDA's own module."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from tests.kit.shell import run, wait_for_value
from tests.tidy.tree import ROOT

FOLDER: Final = Path(os.environ.get("KEDA_HOME", ROOT / ".venv" / "keda"))
NAMESPACE: Final = "keda"
SCRIPT: Final = (ROOT / "tools" / "keda.sh").read_text(encoding="utf-8")
VERSION: Final = re.search(r"^VERSION=(.+)$", SCRIPT, re.MULTILINE)


def images() -> dict[str, str]:
    """Return the images of the two Deployments."""
    assert VERSION is not None
    return {
        "keda-operator": f"keda-operator:{VERSION[1]}",
        "keda-metrics-apiserver": f"keda-adapter:{VERSION[1]}",
    }


def manifests() -> list[dict[str, Any]]:
    """Return KEDA's own manifests: namespace, account, roles, resource definitions, programs and their Services."""
    config = FOLDER / "src" / "config"
    paths = [
        config / "general" / "namespace.yaml",
        *sorted((config / "crd" / "bases").glob("*.yaml")),
        config / "service_account" / "service_account.yaml",
        *(path for part in ("rbac", "metrics-server", "manager") for path in sorted((config / part).glob("*.yaml"))),
    ]
    items = [item for path in paths for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]
    found = [item for item in items if item["kind"] != "Kustomization"]
    for item in found:
        if item["kind"] == "Deployment":
            prepare(item)
    return found


def prepare(deployment: dict[str, Any]) -> None:
    """Set a Deployment's image to the one that tools/keda.sh built."""
    name = deployment["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    program = images()[name].partition(":")[0]
    container.update(image=images()[name], imagePullPolicy="Never", command=[f"/{program}"])
    container["readinessProbe"]["initialDelaySeconds"] = 1


@contextmanager
def keda() -> Iterator[None]:
    """Start KEDA, wait until it is ready, and remove it afterwards with its definitions."""
    given = yaml.safe_dump_all(manifests())
    run("kubectl", "apply", "--server-side", "--force-conflicts", "--filename", "-", given=given)
    try:
        for name in images():
            rollout = ("rollout", "status", f"deployment/{name}", "--timeout", "180s")
            run("kubectl", "--namespace", NAMESPACE, *rollout)
        request = ("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1")
        wait_for_value(lambda: run("kubectl", *request), bool, within_s=60)
        yield
    finally:
        run("kubectl", "delete", "--ignore-not-found", "--wait=false", "--filename", "-", given=given)
