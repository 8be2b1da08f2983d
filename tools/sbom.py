"""Writes a software bill of materials of a release: `python -m tools.sbom FILE`, in CycloneDX 1.6 as JSON.

It lists what `requirements.lock` pins, with the hashes of the archives, so that it describes exactly what a release
installs. The licences are those that the installed packages declare.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
_PIN: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)", re.ASCII)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_CLASSIFIER: Final = "License :: OSI Approved :: "


class Pin(NamedTuple):
    """One package of a lock file."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path) -> list[Pin]:
    """Return the packages of a lock file."""
    found: list[Pin] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := _PIN.match(line):
            found.append(Pin(match["name"], match["version"], ()))
        elif found and (digest := _HASH.search(line)):
            last = found[-1]
            found[-1] = last._replace(hashes=(*last.hashes, digest[1]))
    return found


def licence_of(name: str) -> str:
    """Return the licence that an installed package declares, '' if it declares none or is not installed."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classifiers = [
        line.removeprefix(_CLASSIFIER) for line in metadata.get_all("Classifier") or () if line.startswith(_CLASSIFIER)
    ]
    return " AND ".join(classifiers) or str(*(metadata.get_all("License") or ("",))[:1]).split("\n")[0]


def _component(pin: Pin) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{pin.name}@{pin.version}",
        "name": pin.name,
        "version": pin.version,
        "purl": f"pkg:pypi/{pin.name}@{pin.version}",
        # One archive for each platform; an SBOM has one component for all of them.
        "properties": [{"name": "distq:sha256-of-an-archive", "value": digest} for digest in pin.hashes],
    }
    if licence := licence_of(pin.name):
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def bill(lock: Path, version: str) -> dict[str, Any]:
    """Return the bill of materials of one version of distq."""
    components = [_component(pin) for pin in pins(lock)]
    content = json.dumps(components, sort_keys=True)
    root = f"pkg:pypi/distq@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Computed from the contents: the same release has the same bill.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + content)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": root, "name": "distq", "version": version}},
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}],
    }


if __name__ == "__main__":
    written = bill(ROOT / "requirements.lock", importlib.metadata.version("distq"))
    Path(sys.argv[1]).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(f"{sys.argv[1]}: {len(written['components'])} components")
