"""Tests of the backend of Django's tasks, by a project with a master and a worker of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.tidy.tree import ROOT

import distq

PROCESS = {"DISTQ_CONCURRENCY": "1"}
THREADS = {"DISTQ_CONCURRENCY": "1", "DISTQ_EXECUTOR": "thread", "DISTQ_EXECUTOR_TASKS": "2"}
PROJECT = {"DJANGO_SETTINGS_MODULE": "tests.contrib.django.settings"}


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master and a worker, which a test starts."""
    with cluster(tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", [PROCESS, THREADS], ids=["process", "thread"])
def test_a_project_enqueues_tasks_and_reads_their_results(
    running: Cluster, tmp_path: Path, kind: dict[str, str]
) -> None:
    """Results, failures, retries, options, transactions, signals and checks."""
    files = {"SHOP_DATABASE": str(tmp_path / "shop.db"), "SHOP_SIGNALS": str(tmp_path / "signals")}
    running.run("master")
    running.run("worker", "distq.contrib.django.run", **PROJECT, **files, **kind).executors()
    environment = {**os.environ, **PROJECT, **files, "DISTQ_ADDRESS": f"127.0.0.1:{running.port}", "DISTQ_AUTHKEY": KEY}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.contrib.django.program"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{running.processes[-1].text}"
    assert done.stdout == "ok\n"


def test_a_worker_without_settings_says_so(running: Cluster) -> None:
    """The supervisor logs the sentence of Django, and ends."""
    running.run("master")
    worker = running.run("worker", "distq.contrib.django.run")
    assert worker.ends() != 0
    assert "DJANGO_SETTINGS_MODULE" in worker.text


def test_a_program_without_django_is_given_the_command() -> None:
    """Django itself would name a missing module only."""
    source = "import sys; sys.modules['django'] = None\nimport distq.contrib.django"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert "distq.client.unsendable.ExtraMissing: distq.contrib.django needs Django 6.0 or newer" in done.stderr
    assert "pip install 'distq[django]'" in done.stderr
    assert distq.ExtraMissing.code == "EXTRA_MISSING"
