"""Looks for known vulnerabilities in what `requirements.lock` pins: `python -m tools.audit [--strict]`.

pip-audit asks the package index. A mirror may have the packages and no data about vulnerabilities: then the command
says that it has audited nothing, and fails only with `--strict`, as the release workflow runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PIP_AUDIT: Final = "pip-audit==2.10.1"
LOCK: Final = "requirements.lock"


def report() -> list[dict[str, Any]]:
    """Return what pip-audit reports for each package; raises RuntimeError if it cannot run."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit", "--format", "json"]
    options = ["--disable-pip", "--require-hashes", "--requirement", LOCK, "--progress-spinner", "off"]
    done = subprocess.run([*command, *options], cwd=ROOT, check=False, capture_output=True, text=True)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as exc:
        raise RuntimeError(f"pip-audit ended with {done.returncode}: {done.stderr.strip()}") from exc
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


if __name__ == "__main__":
    printed, exit_code = verdict(report(), strict="--strict" in sys.argv)
    print("\n".join(printed))
    sys.exit(exit_code)
