"""Checks licences, and looks for known vulnerabilities in what a release pins: `python -m tools.audit [--strict]`.

pip-audit asks the package index about vulnerabilities. A mirror may have the packages and no data about them: then the
command says that it has audited nothing, and fails only with `--strict`, as the release workflow runs it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tools.sbom import licence_of, pins

ROOT: Final = Path(__file__).resolve().parents[1]
PIP_AUDIT: Final = "pip-audit==2.10.1"
LOCKS: Final = ("requirements.lock", "images/init.lock", "images/postgresql.lock")
"""What the package needs, and what the images contain besides."""
FREE: Final = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL", re.IGNORECASE)
"""Licences that allow a program of any licence to use the package unchanged."""
LIBRARIES: Final = re.compile(r"LGPL", re.IGNORECASE)
MAY_BE_LIBRARIES: Final = frozenset({"psycopg", "psycopg-binary"})
"""Packages under the LGPL, which one image contains unchanged and which the program loads as they are."""
NOT_INSTALLED: Final = {"dumb-init": "MIT", "typing-extensions": "PSF-2.0"}
"""Licences of packages that an environment for development may lack."""


def licences() -> dict[str, str]:
    """Return the licence of each package by its name, '' where it is unknown."""
    names = {pin.name for lock in LOCKS for pin in pins(ROOT / lock)}
    return {name: licence_of(name) or NOT_INSTALLED.get(name, "") for name in sorted(names)}


def unfit(found: dict[str, str]) -> list[str]:
    """Return a line for each package whose licence is unknown or needs a decision."""
    return [
        f"{name}: its licence is {licence or 'unknown'}. Decide whether a release may contain it: tools/audit.py."
        for name, licence in found.items()
        if not FREE.search(licence) and not (name in MAY_BE_LIBRARIES and LIBRARIES.search(licence))
    ]


def report() -> list[dict[str, Any]]:
    """Return what pip-audit reports for each package; ends the program with a sentence if it cannot run."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit", "--format", "json"]
    command += ["--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    command += [part for lock in LOCKS for part in ("--requirement", lock)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.exit(f"NOTHING AUDITED: pip-audit ended with {done.returncode} and no report. {done.stderr.strip()}")
    return dependencies


def verdict(dependencies: list[dict[str, Any]], *, strict: bool) -> tuple[list[str], int]:
    """Return the lines to print and the exit code."""
    left_out = [one["name"] for one in dependencies if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions'])}"
        for one in dependencies
        for vulnerability in one.get("vulns", ())
    ]
    code = 1 if lines or (left_out and strict) else 0
    lines.append(f"{len(dependencies) - len(left_out)} of {len(dependencies)} packages audited.")
    if left_out:
        lines.append(f"NOT AUDITED, because the index has no data about them: {', '.join(left_out)}.")
    return lines, code


def main() -> int:
    """Print what was found, and return the exit code."""
    found = licences()
    faults = unfit(found)
    print("\n".join(faults) or f"The licences of {len(found)} packages fit.")
    lines, code = verdict(report(), strict="--strict" in sys.argv)
    print("\n".join(lines))
    return code or int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
