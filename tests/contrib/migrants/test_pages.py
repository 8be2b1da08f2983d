"""Tests of the pages for projects that use Celery or RQ: their programs run, and what they name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contrib.pages import write_programs
from tests.tidy.tree import ROOT

import distq
from distq import testing
from distq.settings.table import ROWS
from distq.tasks.options import CHECKS

PRINTED = {
    "from-celery": ["order 1, attempt 1", "order 2, attempt 1", "3"],
    "from-rq": ["order 1 order 2", "order 3", "3"],
}
"""What the program of each page prints."""


@pytest.mark.parametrize("page", PRINTED)
def test_the_program_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks, options, results by id, and groups of the page."""
    monkeypatch.syspath_prepend(tmp_path)
    assert write_programs(f"docs/how-to/{page}.md", tmp_path) == ["shop.py", "program.py"]
    with testing.cluster("shop", concurrency=2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PRINTED[page]


@pytest.mark.parametrize("page", PRINTED)
def test_every_counterpart_that_a_page_names_exists(page: str) -> None:
    """Settings, options of tasks, names of the package, methods of futures and clients."""
    text = (ROOT / f"docs/how-to/{page}.md").read_text()
    counterparts = "\n".join(re.findall(r"^\| .*? \| (.*) \|$", text, re.MULTILINE))
    settings = {row.name for row in ROWS}
    assert set(re.findall(r"DISTQ_[A-Z_]+", counterparts)) <= settings
    options = re.findall(r"options\((\w+)=", counterparts) + re.findall(r"distq\.task\((\w+)=", counterparts)
    assert set(options) <= CHECKS.keys()
    assert [name for name in re.findall(r"`distq\.(\w+)\(", counterparts) if not hasattr(distq, name)] == []
    assert [name for name in re.findall(r"future\.(\w+)\(", counterparts) if not hasattr(distq.TaskFuture, name)] == []
    assert [name for name in re.findall(r"client\.(\w+)\(", counterparts) if not hasattr(distq.Client, name)] == []
