"""The code of docs/how-to/test-your-tasks.md runs: its program, and its tests under pytest."""

import re
import subprocess
import sys
from pathlib import Path

from tests.tidy.tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "test-your-tasks.md"
PLUGIN = ("--strict-markers", "-p", "distq.pytest_plugin")
"""An installed distq loads its plugin by its entry point; with both, pytest loads it once."""
BLOCK = re.compile(r"^```(\w*)\n(?:# ([\w/.]+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_code_block_of_the_page_runs(tmp_path: Path) -> None:
    """Each block names its file in its first line; pytest passes all tests of these files, warnings are errors."""
    blocks = [match.groups() for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
    assert all(name for _, name, _ in blocks)
    count = 0
    for _, name, code in blocks:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")
        count += len(re.findall(r"^\s*(?:async )?def test_", code, re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *PLUGIN, "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} passed" in done.stdout
