"""What a release consists of is pinned with hashes, has a licence that fits, and is listed in a bill of materials."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.tidy.tree import ROOT
from tools.audit import licences, unfit, verdict
from tools.sbom import pins

LOCKS = ("requirements.lock", "requirements-dev.lock", "images/init.lock", "images/postgresql.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    """An index that sends other bytes than those that were locked is refused."""
    text = (ROOT / lock).read_text()
    assert "sha256" in text
    assert [pin.name for pin in pins(ROOT / lock) if not pin.hashes] == []


def test_every_package_of_a_release_has_a_licence_that_fits() -> None:
    """`make audit` checks it too: a new package with another licence, or without one, needs a decision."""
    assert unfit(licences()) == []
    assert {"dumb-init", "psycopg", "uvloop"} <= licences().keys()
    found = {"one": "MIT", "two": "AGPL-3.0-only", "three": "", "four": "LGPL-3.0-only", "psycopg": "LGPL-3.0-only"}
    assert [line.partition(":")[0] for line in unfit(found)] == ["two", "three", "four"]


def test_the_bill_of_materials_lists_what_a_release_installs(tmp_path: Path) -> None:
    """Its components are those of the lock file, and the same release gives the same bill."""
    written = []
    for name in ("one.json", "two.json"):
        subprocess.run([sys.executable, "-m", "tools.sbom", str(tmp_path / name)], cwd=ROOT, check=True)
        written.append((tmp_path / name).read_text())
    assert written[0] == written[1]
    bill = json.loads(written[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {one["purl"] for one in bill["components"]} == {
        f"pkg:pypi/{pin.name}@{pin.version}" for pin in pins(ROOT / "requirements.lock")
    }
    assert bill["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in bill["components"]]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_has_no_permission_that_a_job_does_not_name(path: Path) -> None:
    """The workflow has none, each job lists its own, and each action is pinned by its commit."""
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert isinstance(job["permissions"], dict), name
        for step in job["steps"]:
            if uses := step.get("uses"):
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", uses), uses


def test_an_audit_says_what_it_has_not_audited() -> None:
    """A vulnerability fails it; a package without data fails it only where the index must have data."""
    clean = {"name": "one", "version": "1", "vulns": []}
    unknown = {"name": "two", "skip_reason": "not found"}
    bad = {"name": "three", "version": "3", "vulns": [{"id": "CVE-1", "fix_versions": ["4"]}]}
    assert verdict([clean], strict=True) == (["1 of 1 packages audited."], 0)
    lines, code = verdict([clean, unknown], strict=False)
    assert (lines[-1], code) == ("NOT AUDITED, because the index has no data about them: two.", 0)
    assert verdict([clean, unknown], strict=True)[1] == 1
    assert verdict([bad], strict=False) == (["three 3: CVE-1, fixed in 4", "1 of 1 packages audited."], 1)
