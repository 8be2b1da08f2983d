"""Tests of the backend of joblib, with the oldest joblib that it supports and with the installed one."""

import os
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import joblib
import pytest
import uv
from tests.e2e.test_by_value import output_of
from tests.testing import jobs
from tests.tidy.tree import ROOT

import distq
import distq.contrib.joblib
from distq import testing
from distq.contrib.joblib.backend import PARAMETERS, JoblibBackend

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


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"slot": 2}, "the backend distq has no parameter 'slot'; did you mean slots?"),
        ({"slots": 2, "max_nbyte": "1K"}, "the backend distq has no parameter 'max_nbyte'; did you mean max_nbytes?"),
        (
            {"inner_max_threads": 2},
            "the backend distq has no parameter 'inner_max_threads'; did you mean inner_max_num",
        ),
        ({"zzz": 2}, "the backend distq has no parameter 'zzz'; it has client, slots, n_jobs, "),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_name(parameters: dict[str, object], sentence: str) -> None:
    """Ignored, it would look as if it had an effect."""
    distq.contrib.joblib.register()
    with testing.eager() as running, pytest.raises(TypeError, match=f"^{re.escape(sentence)}"):
        joblib.parallel_config("distq", client=running.client, **parameters)


def test_the_names_in_that_sentence_are_parameters_of_the_block() -> None:
    """Of joblib's `parallel_config`, or of the backend."""
    block = {*signature(joblib.parallel_config).parameters, *signature(JoblibBackend).parameters}
    assert set(PARAMETERS) <= block


@pytest.mark.parametrize(
    ("name", "meant"), [("slots", "slots"), ("slot", "slots"), ("client", "client"), ("clients", "client")]
)
def test_a_parameter_of_the_block_is_refused_at_parallel(name: str, meant: str) -> None:
    """Newer versions of joblib accept every parameter there; parameters of other backends have no effect."""
    with testing.eager() as running:
        backend = JoblibBackend(client=running.client, slots=2)
        known: dict[str, Any] = {"temp_folder": None, "prefer": None, "require": None, "verbose": 0, "context": None}
        assert backend.configure(2, None, 1, "r", **known, idle_worker_timeout=5) == 2
        sentence = rf"^joblib\.Parallel has no parameter '{name}'; give {meant} to joblib\.parallel_config"
        with pytest.raises(TypeError, match=sentence):
            backend.configure(2, None, 1, "r", **known, **{name: 2})


def test_the_program_of_the_how_to_page_runs() -> None:
    """docs/how-to/joblib.md prints the roots."""
    page = (ROOT / "docs/how-to/joblib.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert output_of(source, {}) == [str([float(number) for number in range(10)])]
