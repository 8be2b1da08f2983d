"""Helpers that render the chart as objects; `python -m tests.kit.chart` writes the golden manifests again."""

import json
import re
from collections import UserDict
from pathlib import Path
from typing import Any

import yaml
from tests.kit.shell import CHART, run

Object = dict[str, Any]


GOLDEN = Path(__file__).with_name("golden")
CI = CHART / "ci"
NEWEST = "1.37"


class KubernetesLoader(yaml.SafeLoader):
    """Reads numbers and truth values as Helm and Kubernetes do, also where PyYAML reads a text."""


KubernetesLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


class Rendered(UserDict[tuple[str, str], Object]):
    """The objects of one rendering, by kind and name."""

    def containers(self) -> list[tuple[str, Object, Object]]:
        """Return every container of every pod: the object's name, the pod's spec, the container."""
        return [(name, pod, container) for (_, name), pod in self.pods().items() for container in pod["containers"]]

    def pods(self) -> dict[tuple[str, str], Object]:
        """Return the spec of every pod, whichever kind of object creates it."""
        return {
            (kind, name): item["spec"] if kind == "Pod" else item["spec"]["template"]["spec"]
            for (kind, name), item in self.items()
            if kind in {"Pod", "Deployment", "StatefulSet"}
        }


def render(values: Object | Path | None = None, release: str = "distq") -> Rendered:
    """Return the output of `helm template` for the chart with these values."""
    path = "-" if isinstance(values, dict) else values
    given = json.dumps(values) if isinstance(values, dict) else None  # JSON writes every text in quotes
    chosen = ["--kube-version", NEWEST, *(["--values", path] if path else [])]
    output = run("helm", "template", release, CHART, *chosen, given=given)
    objects = [item for item in yaml.load_all(output, KubernetesLoader) if item]
    rendered = Rendered({(item["kind"], item["metadata"]["name"]): item for item in objects})
    assert len(rendered) == len(objects), "two objects of one kind have the same name"
    return rendered


def golden(values: Path, helm: str = "helm") -> str:
    """Return the golden manifests of one scenario, sorted, so that a diff shows only changes."""
    output = run(helm, "template", "distq", CHART, "--kube-version", NEWEST, "--values", values)
    objects = [item for item in yaml.safe_load_all(output) if item and not is_whole_file(item)]
    objects.sort(key=lambda item: (item["kind"], item["metadata"]["name"]))
    return yaml.safe_dump_all(objects, sort_keys=True, width=120)


def is_whole_file(item: Object) -> bool:
    """Return whether an object contains a committed file; other tests compare these."""
    return bool(item["kind"] == "PrometheusRule" or item["metadata"]["name"].endswith("-dashboards"))


def env_of(container: Object) -> dict[str, Any]:
    """Return a container's environment by name, and fail if a name occurs twice."""
    pairs = [(entry["name"], entry.get("value", entry.get("valueFrom"))) for entry in container.get("env", [])]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def worker(rendered: Rendered, pool: str = "default", release: str = "distq") -> Object:
    """Return the container of a pool's workers."""
    container: Object = rendered["Deployment", f"{release}-worker-{pool}"]["spec"]["template"]["spec"]["containers"][0]
    return container


def main() -> None:
    """Write the manifests of every scenario."""
    for values in sorted(CI.glob("*-values.yaml")):
        name = values.name.replace("-values", "")
        (GOLDEN / name).write_text(golden(values), encoding="utf-8")


if __name__ == "__main__":
    main()
