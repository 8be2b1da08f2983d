"""Rendering the chart: values in, objects out."""

from collections import UserDict
from pathlib import Path
from typing import Any

import yaml
from tests.kit.shell import CHART, run

Object = dict[str, Any]


class Rendered(UserDict[tuple[str, str], Object]):
    """The objects of one rendering, by kind and name."""

    def containers(self) -> list[tuple[str, Object, Object]]:
        """Every container of every pod: the object's name, the pod's spec, the container."""
        return [(name, pod, container) for (_, name), pod in self.pods().items() for container in pod["containers"]]

    def pods(self) -> dict[tuple[str, str], Object]:
        """The spec of every pod, whatever makes it."""
        return {
            (kind, name): item["spec"] if kind == "Pod" else item["spec"]["template"]["spec"]
            for (kind, name), item in self.items()
            if kind in {"Pod", "Deployment", "StatefulSet"}
        }


def render(values: Object | Path | None = None, release: str = "distq") -> Rendered:
    """What `helm template` makes of the chart with these values."""
    path = "-" if isinstance(values, dict) else values
    given = yaml.safe_dump(values) if isinstance(values, dict) else None
    said = run("helm", "template", release, CHART, *(["--values", path] if path else []), given=given)
    objects = [item for item in yaml.safe_load_all(said) if item]
    rendered = Rendered({(item["kind"], item["metadata"]["name"]): item for item in objects})
    assert len(rendered) == len(objects), "two objects of one kind have the same name"
    return rendered


def env_of(container: Object) -> dict[str, Any]:
    """A container's environment by name, which must not be there twice."""
    pairs = [(entry["name"], entry.get("value", entry.get("valueFrom"))) for entry in container.get("env", [])]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def worker(rendered: Rendered, pool: str = "default", release: str = "distq") -> Object:
    """The container of a pool's workers."""
    container: Object = rendered["Deployment", f"{release}-worker-{pool}"]["spec"]["template"]["spec"]["containers"][0]
    return container
