"""Tests of the wheel that users install: it contains the package, and runs without the rest of the project."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import uv
from tests.tidy.tree import ROOT

from distq import __version__

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("wheel")]
RUNNERS: Mapping[str, tuple[str, ...]] = {
    "uvx": (uv.find_uv_bin(), "tool", "run", "--python", sys.executable, "--from"),
    "pipx": (sys.executable, "-m", "pipx", "run", "--python", sys.executable, "--spec"),
}
"""The programs that install a wheel for one command, each as its users start it, up to the wheel."""


def run_uv(*arguments: str | Path) -> str:
    """Run uv in the project's folder and return its output."""
    done = subprocess.run([uv.find_uv_bin(), *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of `make build`."""
    folder = tmp_path_factory.mktemp("dist")
    run_uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    (built,) = folder.glob("distq-*.whl")
    return built


def test_the_wheel_contains_the_package_alone(wheel: Path) -> None:
    """No test and no tool of this project becomes a module of its users."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "distq/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"distq", f"distq-{__version__}.dist-info"}


def test_the_wheel_installs_and_runs_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """The wheel and the locked dependencies provide a `distq` that starts."""
    environment = tmp_path / "environment"
    run_uv("venv", "--python", sys.executable, environment)
    install = ("pip", "install", "--python", environment)
    run_uv(*install, "--require-hashes", "--requirement", "requirements.lock")
    run_uv(*install, "--no-deps", wheel)
    program = environment / "bin" / "distq"
    version = subprocess.run([program, "--version"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert __version__ in version.stdout


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_demo_runs_from_the_wheel_without_an_installation(wheel: Path, tmp_path: Path, runner: str) -> None:
    """With an empty home, and only the packages of the index that pip or uv is configured for, or of uv's cache."""
    index = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "PIP_", "SSL_")) or "proxy" in name.lower()
    }
    cache = run_uv("cache", "dir").strip()
    empty = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_CACHE_DIR": cache}
    demo = [*RUNNERS[runner], str(wheel), "distq", "demo"]
    shown = subprocess.run(demo, cwd=tmp_path, env=index | empty, check=False, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "10/10 done" in shown.stdout
    assert "Stopped: master cleanly, worker 1 cleanly, worker 2 cleanly." in shown.stdout
