"""Test of the wheel that users install: it contains the package, and runs without the rest of the project."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv
from tests.tidy.tree import ROOT

from distq import __version__


@pytest.mark.timeout(300)
def test_the_wheel_installs_and_runs_in_a_fresh_environment(tmp_path: Path) -> None:
    """The wheel of `make build` and the locked dependencies provide a `distq` that starts."""
    environment = tmp_path / "environment"
    program = environment / "bin" / "distq"

    def run_uv(*arguments: str | Path) -> None:
        subprocess.run([uv.find_uv_bin(), *arguments, "--quiet"], cwd=ROOT, check=True)

    run_uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", tmp_path)
    cache = subprocess.run(
        [uv.find_uv_bin(), "cache", "dir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    index = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "PIP_", "SSL_")) or "proxy" in name.lower()
    }
    (wheel,) = tmp_path.glob("distq-*.whl")
    run_uv("venv", "--python", sys.executable, environment)
    install = ("pip", "install", "--python", environment)
    run_uv(*install, "--require-hashes", "--requirement", "requirements.lock")
    run_uv(*install, "--no-deps", wheel)
    version = subprocess.run([program, "--version"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert __version__ in version.stdout
    demo = [uv.find_uv_bin(), "tool", "run", "--python", sys.executable, "--from", str(wheel), "distq", "demo"]
    empty = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_CACHE_DIR": str(cache)}
    shown = subprocess.run(demo, cwd=tmp_path, env=index | empty, check=False, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "Stopped: master cleanly, worker 1 cleanly, worker 2 cleanly." in shown.stdout
    names = zipfile.ZipFile(wheel).namelist()
    assert "distq/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"distq", f"distq-{__version__}.dist-info"}
