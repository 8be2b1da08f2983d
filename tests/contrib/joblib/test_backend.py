"""Tests of the backend of joblib, with the oldest joblib that it supports and with the installed one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import uv
from tests.e2e.test_by_value import output_of
from tests.testing import jobs
from tests.tidy.tree import ROOT

import distq
import distq.contrib.joblib
from distq import testing
from distq.contrib.joblib.backend import JoblibBackend

BOUND = "1.3.0"
"""The oldest supported version."""
OLDEST = BOUND if sys.version_info < (3, 14) else "1.5.0"
"""The oldest version that runs on this Python: joblib 1.3 uses a part of `ast` that newer Pythons do not have."""


@pytest.fixture(name="path", params=[OLDEST, ""], ids=[OLDEST, "installed"])
def path_of_joblib(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where Python finds that version of joblib first; '' for the installed one."""
    if not request.param:
        return ""
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target"]
    subprocess.run([*command, tmp_path / "old", f"joblib=={request.param}"], check=True)
    return str(tmp_path / "old")


def test_every_feature_of_parallel_works(path: str, tmp_path: Path) -> None:
    """Generators, nesting, aborts, timeouts and errors, for functions of `__main__`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT))))}
    done = subprocess.run(
        [sys.executable, "tests/contrib/joblib/program.py", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ok {OLDEST if path else joblib.__version__}\n"


def test_the_oldest_version_is_that_of_the_extra() -> None:
    """The version that these tests run, on a Python that it supports, is the bound in pyproject.toml."""
    assert f'joblib = ["joblib>={BOUND.removesuffix(".0")}", ' in (ROOT / "pyproject.toml").read_text()


def test_a_program_without_joblib_is_given_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import distq.contrib.joblib` alone needs nothing: workers import the module of the function."""
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(distq.ExtraMissing, match=r"needs joblib: pip install 'distq\[joblib\]'"):
        distq.contrib.joblib.register()


def test_a_cluster_of_one_slot_still_runs_the_calls() -> None:
    """Joblib runs calls in the calling process if the backend has room for one: so it has room for two."""
    with testing.cluster(jobs, concurrency=1) as cluster:
        backend = JoblibBackend(client=cluster.client)
        assert backend.effective_n_jobs(-1) == 2
        assert backend.effective_n_jobs(None) == 1
        distq.contrib.joblib.register()
        with joblib.parallel_config("distq", client=cluster.client):
            (process,) = joblib.Parallel()(joblib.delayed(jobs.process_id)() for _ in range(1))
        assert process != os.getpid()


def test_values_without_a_meaning_are_refused() -> None:
    """No job, and a client that is none."""
    with testing.eager() as running:
        with pytest.raises(ValueError, match="n_jobs == 0"):
            JoblibBackend(client=running.client).effective_n_jobs(0)
        with pytest.raises(ValueError, match="slots"):
            JoblibBackend(client=running.client, slots=0)
        with pytest.raises(TypeError, match=r"client\.options\(\.\.\.\), not 'localhost'"):
            JoblibBackend(client="localhost")  # type: ignore[arg-type]


def test_the_program_of_the_how_to_page_runs() -> None:
    """docs/how-to/joblib.md prints the roots."""
    page = (ROOT / "docs/how-to/joblib.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert output_of(source, {}) == [str([float(number) for number in range(10)])]
