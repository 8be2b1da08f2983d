"""Tests of the pytest plugin: its fixtures, marker and setting, and what it costs tests that do not use it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.tidy.tree import ROOT

from distq import pytest_plugin

TASKS = """
import os

import distq


@distq.task(name="pid", retries=5)
def pid() -> int:
    return os.getpid()


@distq.task(name="fails")
def fails() -> None:
    raise ValueError
"""


def run(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    """Run tests in a process of its own, with the plugin, a module of tasks, and warnings as errors."""
    pytester.makepyfile(tasks=TASKS, test_program=tests)
    loaded = ("-p", "distq.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "--strict-markers")
    return pytester.runpytest_subprocess(*loaded, *arguments, timeout=100)


def test_the_fixtures_are_the_two_modes(pytester: pytest.Pytester) -> None:
    """`distq_cluster` runs tasks in executors, `distq_eager` in the test's process; the setting names the modules."""
    pytester.makeini("[pytest]\ndistq_tasks = tasks\npythonpath = .\n")
    result = run(
        pytester,
        """
        import os

        import distq
        import tasks


        def test_cluster(distq_cluster):
            named = distq_cluster.client.submit_named("pid", [])
            assert os.getpid() not in (distq.Client().submit(tasks.pid).result(60), named.result(60))
            distq_cluster.drain()
            assert len(distq_cluster.submitted(tasks.pid)) == 2


        def test_eager(distq_eager):
            assert distq.Client().submit(tasks.pid).result() == os.getpid()
            distq_eager.assert_submitted(tasks.pid)


        def test_both_are_away():
            assert not [name for name in os.environ if name.startswith("DISTQ_")]
        """,
    )
    result.assert_outcomes(passed=3)


def test_the_marker_has_modules_executors_and_settings(pytester: pytest.Pytester) -> None:
    """The nearest marker counts; a wrong word in it is an error that names it."""
    pytester.makeini("[pytest]\npythonpath = .\n")
    result = run(
        pytester,
        """
        import pytest

        pytestmark = pytest.mark.distq("tasks", concurrency=1, settings={"DISTQ_RETRIES": "0"})


        def test_module(distq_cluster):
            future = distq_cluster.client.submit_named("fails", [])
            distq_cluster.drain()
            assert future.done()
            assert isinstance(future.exception(), ValueError)


        @pytest.mark.distq("tasks", settings={"DISTQ_RETRIES": "7"})
        def test_nearest(distq_eager):
            at = distq_eager.now
            distq_eager.client.submit_named("fails", [])
            assert distq_eager.now > at + 60


        @pytest.mark.distq("tasks", executors=3)
        def test_wrong(distq_cluster):
            pass


        @pytest.mark.distq("no_such_module")
        def test_missing(distq_cluster):
            pass
        """,
    )
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*The marker distq takes modules, concurrency and settings, not executors.*"])
    result.stdout.fnmatch_lines(["*ClusterNotStarted*no_such_module*"])


def test_test_modules_may_have_tasks_of_their_own_and_run_in_parallel(pytester: pytest.Pytester) -> None:
    """Each process of xdist has clusters of its own; a failing test leaves no process and no thread."""
    result = run(
        pytester,
        """
        import os
        import threading

        import pytest


        def pid(number):
            return os.getpid()


        @pytest.mark.parametrize("number", range(4))
        def test_cluster(distq_cluster, number):
            assert distq_cluster.client.submit(pid, number).result(60) != os.getpid()
            assert number != 3


        def test_nothing_is_left():
            assert "distq-testing" not in [thread.name for thread in threading.enumerate()]
        """,
        "-n",
        "2",
    )
    result.assert_outcomes(passed=4, failed=1)


def test_the_plugin_imports_nothing_of_distq_for_other_tests(pytester: pytest.Pytester) -> None:
    """Where distq is installed, tests of other programs pay for one small module."""
    result = run(
        pytester,
        """
        import sys


        def test_modules():
            found = {name for name in sys.modules if name.partition(".")[0] == "distq"}
            assert found == {"distq", "distq._version", "distq.pytest_plugin"}
            assert not {"structlog", "uvloop", "click"} & sys.modules.keys()
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_entry_point_names_the_module() -> None:
    """Pytest loads the plugin of an installed distq once, also with `-p distq.pytest_plugin`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = pytest_plugin.__name__
    assert project["entry-points"]["pytest11"] == {name: name}


def test_the_plugin_of_an_installed_distq_is_loaded_without_warnings(tmp_path: Path) -> None:
    """Neither an earlier import of distq nor `-p` beside the entry point is a warning or an error."""
    metadata = tmp_path / "distq-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: distq-entry\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\ndistq.pytest_plugin = distq.pytest_plugin\n")
    (metadata / "RECORD").write_text("distq/__init__.py,,\ndistq/pytest_plugin.py,,\n")
    (tmp_path / "test_it.py").write_text("def test_it(distq_eager):\n    assert distq_eager.submitted() == ()\n")
    program = "import distq, pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    arguments = ["-W", "error", "-q", "-p", "no:cacheprovider", "--strict-markers", "-p", "distq.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT / "src")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
