"""Tests of the backend of Django's tasks, by a project with a master and a worker of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster, Process, cluster, descendants, lives
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq

PROCESS = {"DISTQ_CONCURRENCY": "1"}
THREADS = {"DISTQ_CONCURRENCY": "1", "DISTQ_EXECUTOR": "thread", "DISTQ_EXECUTOR_TASKS": "2"}
KEYS = {
    "DISTQ_SIGNING_KEY": "a signing key of the tests",
    "DISTQ_ENCRYPTION_KEY": "an encryption key of the tests",
}
PROJECT = {"DJANGO_SETTINGS_MODULE": "tests.contrib.django.settings"}


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master and a worker, which a test starts."""
    with cluster(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "keys"),
    [(PROCESS, {}), (THREADS, {}), (PROCESS, KEYS), (THREADS, KEYS)],
    ids=["process", "thread", "process with keys", "thread with keys"],
)
def test_a_project_enqueues_tasks_and_reads_their_results(
    running: Cluster, tmp_path: Path, kind: dict[str, str], keys: dict[str, str]
) -> None:
    """Results, failures, retries, options, transactions, signals and checks; also signed and encrypted."""
    files = {"SHOP_DATABASE": str(tmp_path / "shop.db"), "SHOP_SIGNALS": str(tmp_path / "signals")}
    running.run("master")
    running.run("worker", "distq.contrib.django.run", **PROJECT, **files, **kind, **keys).executors()
    environment = {
        **os.environ,
        **PROJECT,
        **files,
        **keys,
        "DISTQ_ADDRESS": f"127.0.0.1:{running.port}",
        "DISTQ_AUTHKEY": KEY,
    }
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


def manage(running: Cluster, *arguments: str, **settings: str) -> Process:
    """Start a command of `manage.py` with the settings of the project and the cluster."""
    return running.run(*arguments, launcher=("-W", "error", "-m", "django"), **PROJECT, **settings)


def test_the_worker_of_manage_py_runs_the_project_s_tasks_and_ends_cleanly(running: Cluster, tmp_path: Path) -> None:
    """It serves the queues of the backends, and Ctrl-C ends it with 0."""
    files = {"SHOP_DATABASE": str(tmp_path / "shop.db"), "SHOP_SIGNALS": str(tmp_path / "signals")}
    running.run("master")
    worker = manage(running, "distq_worker", "--concurrency", "1", **files)
    (pid,) = worker.executors()
    assert "tests.contrib.django.settings" in Path(f"/proc/{pid}/environ").read_text()
    assert "--queues\0default,mail\0" in Path(f"/proc/{worker.popen.pid}/cmdline").read_text()
    with running.client() as client:
        assert client.submit_named("tests.contrib.django.shop.tasks:number_written", [5]).result(30) == 5
    worker.signal(signal.SIGINT)
    assert worker.ends() == 0
    assert worker.events("worker_stopped")[0]["done"] == 1


def test_the_worker_of_manage_py_starts_again_when_source_changes(running: Cluster, tmp_path: Path) -> None:
    """In development only; a broken file waits for its correction, and Ctrl-C ends both processes."""
    package = tmp_path / "changing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    module = package / "tasks.py"

    def write(source: str, at: float) -> None:
        module.write_text(source)
        os.utime(module, (at, at))

    write("def text(): return 'first'", 1e9)
    running.run("master")
    settings = {"PYTHONPATH": str(tmp_path), "SHOP_DEBUG": "1", "SHOP_APP": "changing"}
    worker = manage(running, "distq_worker", "changing.tasks", "--concurrency", "1", **settings)
    worker.executors()
    with running.client() as client:
        assert client.submit_named("changing.tasks:text").result(30) == "first"
        write("def text(: return 'broken'", 1e9 + 5)
        eventually(lambda: "it starts again when a source file changes." in worker.text, "", lambda: worker.text)
        write("def text(): return 'second'", 1e9 + 10)
        assert client.submit_named("changing.tasks:text").result(30) == "second"
    worker.logs("executor_joined", times=2)
    children = descendants(worker.popen.pid)
    worker.signal(signal.SIGINT)
    assert worker.ends() == 0, worker.text
    eventually(lambda: not any(map(lives, children)), "the worker has ended too")
    assert "tasks.py has changed: the worker starts again." in worker.text
    assert "Traceback" not in worker.text.rpartition("starts again")[2]


@pytest.mark.parametrize(
    ("debug", "option", "reloads"), [("0", "--reload", True), ("1", "--noreload", False), ("0", "", False)]
)
def test_the_worker_of_manage_py_reloads_only_in_development(
    running: Cluster, debug: str, option: str, reloads: bool
) -> None:
    """Or when it is asked to."""
    running.run("master")
    worker = manage(running, "distq_worker", "--concurrency", "1", *filter(None, [option]), SHOP_DEBUG=debug)
    worker.logs("executor_joined")
    assert ("starts again when a source file changes" in worker.text) == reloads
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_the_commands_of_manage_py_explain_mistakes(running: Cluster, tmp_path: Path) -> None:
    """System checks, an unknown backend, several masters, a missing table, a missing key."""
    for arguments, settings, text in (
        (["distq_worker"], {"SHOP_WRONG": "1"}, "(distq.E001) TASKS['wrong']['OPTIONS'] has ADRESS"),
        (["check"], {"SHOP_OPTIONS": "null"}, "(distq.E009) TASKS['wrong']['OPTIONS'] is a dict, not None."),
        (["distq_worker", "--skip-checks"], {"SHOP_WRONG": "1"}, "have different masters: choose one with --backend."),
        (["distq_worker", "--backend", "x"], {}, "TASKS has no backend 'x' of distq; it has 'default', 'retrying'"),
        (["distq_worker", "--concurrency", "x"], {}, "--concurrency is 'x', which cannot be read"),
        (["distq_outbox"], {}, "The database 'default' has no table of the outbox. Run manage.py migrate."),
        *(
            (
                ["distq_outbox", "--interval", text],
                {},
                f"--interval is a number of seconds from 0.01 to 86,400, not {text}",
            )
            for text in ("0.0", "-1.0", "nan", "inf")
        ),
    ):
        command = manage(running, *arguments, SHOP_DATABASE=str(tmp_path / "empty.db"), **settings)
        assert command.ends() != 0
        assert text in command.text
        assert "Traceback" not in command.text
