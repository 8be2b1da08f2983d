"""Tests of `Client(by_value=True)`: a program's own functions and classes run in workers that do not have them."""

import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from types import ModuleType

import cloudpickle
import pytest
from tests.testing import jobs
from tests.tidy.tree import ROOT

import distq
from distq import testing
from distq.tasks import by_value


@pytest.fixture(name="cluster")
def running_cluster() -> Iterator[testing.Cluster]:
    """A cluster with one executor, and tasks that a program of `__main__` does not use."""
    with testing.cluster(jobs, concurrency=1) as running:
        yield running


PROGRAM = """
import sys
from distq import testing
from tests.testing import jobs
with testing.cluster(jobs, concurrency=1, settings={settings!r}):
    exec(sys.stdin.read(), globals())
"""


def output_of(source: str, settings: dict[str, str]) -> list[str]:
    """Run a program that is `__main__` with a cluster; returns the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(settings=settings)],
        input=source,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "settings", [{}, {"DISTQ_EXECUTOR": "thread", "DISTQ_EXECUTOR_TASKS": "2"}], ids=["process", "thread"]
)
def test_every_function_of_a_program_runs_with_its_classes_and_globals(settings: dict[str, str]) -> None:
    """Lambdas, closures, partials, methods, generators, coroutines, chains and chunks of `__main__`."""
    locked, large, nightly, ok = output_of((ROOT / "tests/e2e/by_value_program.py").read_text(), settings)
    assert "<lambda> cannot be sent by value, because something that it uses cannot be pickled: cannot pickle" in locked
    assert "let the function load large values itself" in large
    assert "DISTQ_PAYLOAD_BYTES_MAX allows 16,777,216" in large
    assert "times is defined in the program itself" in nightly
    assert ok == "ok"


def test_the_program_of_the_how_to_page_runs() -> None:
    """docs/how-to/functions-by-value.md prints what it says."""
    page = (ROOT / "docs/how-to/functions-by-value.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert output_of(source, {}) == ["42", "[0, 1, 4, 9]"]


def test_a_worker_of_another_python_fails_the_task_with_both_versions(
    cluster: testing.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails with a sentence at its first attempt, and the executor goes on."""
    client = distq.Client(by_value=True)
    monkeypatch.setattr(by_value, "PYTHON", "Python 3.99")
    unreadable = client.options(retries=3).submit(lambda: 1)
    monkeypatch.undo()
    with pytest.raises(distq.ValueUnreadable, match=rf"by Python 3\.99, and this process runs {by_value.PYTHON}"):
        unreadable.result(30)
    assert client.submit(lambda: 1).result(30) == 1
    assert cluster.client.submit(jobs.add, 1).result(30) == jobs.add(1)


def test_a_worker_that_accepts_only_json_says_what_to_do() -> None:
    """It reads nothing of the payload."""
    with testing.cluster(jobs, concurrency=1, settings={"DISTQ_ACCEPT": "json"}):
        future = distq.Client(by_value=True).submit(lambda: 1)
        with pytest.raises(distq.ValueUnreadable, match=r"accepts only JSON \(DISTQ_ACCEPT=json\): submit a task that"):
            future.result(30)


def test_a_module_that_the_program_registers_travels_by_value(cluster: testing.Cluster) -> None:
    """A worker gets the module's function as it is here, also if it could import another one of that name."""
    module = ModuleType("tests.testing.jobs_of_this_test")
    exec("def here(): return 'here'", module.__dict__)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        assert distq.Client(by_value=True).submit(module.here).result(30) == "here"
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[module.__name__]


def test_a_function_that_workers_can_import_goes_by_its_name(cluster: testing.Cluster) -> None:
    """So it keeps its name, and workers run their own version of it."""
    client = distq.Client(by_value=True)
    client.submit(jobs.add, 1).result(30)
    assert [task.name for task in cluster.submitted()] == ["tests.testing.jobs:add"]
    with pytest.raises(distq.NotATask, match="a lambda"):
        cluster.client.submit(lambda: 1)


def test_the_master_shows_the_name_of_the_function(cluster: testing.Cluster) -> None:
    """An operator sees that it travelled by value; a long name keeps its end."""

    def local() -> None: ...

    local.__qualname__ = "a" * 200 + ".last"
    client = distq.Client(by_value=True)
    client.submit(local).result(30)
    (name,) = [task.name for task in cluster.submitted()]
    assert name.startswith("distq.by_value:...a")
    assert name.endswith("a.last")
    assert len(name) == 128


def test_injected_parameters_cannot_travel(cluster: testing.Cluster) -> None:
    """A worker sets up hooks of its own modules only."""

    @distq.lifespan
    def hook() -> Generator[int, None, None]:
        yield 1

    def local(value: int = distq.injected(hook)) -> int:
        return value

    with pytest.raises(distq.NotATask, match="cannot travel by value: a worker sets up what value needs"):
        distq.Client(by_value=True).submit(local)


def test_a_cached_function_of_a_program_is_refused_at_the_submit() -> None:
    """Its pickle is only its name, which the worker's `__main__` does not have."""
    source = """
import functools
import distq

@functools.lru_cache
def cached(number):
    return number

try:
    distq.Client(by_value=True).submit(cached, 1)
except distq.NotPicklable as error:
    print(error)
"""
    (refused,) = output_of(source, {})
    assert "cached cannot be sent by value, because functools.cache or lru_cache wraps it" in refused
