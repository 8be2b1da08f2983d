"""Tests of `tools/environment.py`, which finds an installer on machines with few programs."""

import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from tests.tidy.tree import ROOT


@pytest.fixture(name="tool")
def load_tool() -> ModuleType:
    """Return the program as a module; it is not part of the package."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="index")
def serve_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a package index on this machine, whose files are in `tmp_path`."""
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_broken", [False, True])
def test_pip_comes_from_the_configured_index_if_its_hash_is_right(
    tool: ModuleType, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_broken: bool
) -> None:
    """The newest release is fetched from PIP_INDEX_URL and used only if it has the hash of the index."""
    (tmp_path / "simple" / "pip").mkdir(parents=True)
    old, new = "pip-9.0.1-py3-none-any.whl", "pip-25.3-py3-none-any.whl"
    (tmp_path / new).write_bytes(b"other" if is_broken else b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    links = [f'<a href="../../{name}#sha256={digest}">{name}</a>' for name in (new, old)]
    (tmp_path / "simple" / "pip" / "index.html").write_text("<br>".join(links))
    monkeypatch.setenv("PIP_INDEX_URL", index)
    wheels: list[bytes] = []

    def pip_from(wheel: Path) -> bool:
        wheels.append(wheel.read_bytes())
        return wheel.name == new

    monkeypatch.setattr(tool, "pip_from", pip_from)
    assert tool.pip_from_the_index() is not is_broken
    assert wheels == ([] if is_broken else [b"wheel"])


def test_no_other_index_than_pips_own_is_asked(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured index this installer reports failure, and the program tries the next one."""
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setattr(tool, "PIP_CONFIGURATIONS", ())
    assert tool.pip_from_the_index() is False


def test_an_index_in_pips_file_is_used(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose pip uses a mirror gets pip from that mirror."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert tool.configured_index() == "https://mirror.example/simple"


def test_a_machine_without_an_installer_gets_an_error_with_the_package_to_install(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one sentence with the package's name, and no traceback."""
    monkeypatch.setattr(tool.shutil, "which", lambda _: None)
    monkeypatch.setattr(tool, "works", lambda *_, **__: False)
    monkeypatch.setattr(tool, "WAYS", (lambda: False,))
    with pytest.raises(SystemExit, match="apt-get install python3-venv"):
        tool.installer()


def test_ctrl_c_during_an_installation_shows_no_traceback(tmp_path: Path) -> None:
    """The terminal sends SIGINT to the installer too; the next `make` starts again."""
    (tmp_path / "tools").mkdir()
    program = shutil.copy(ROOT / "tools" / "environment.py", tmp_path / "tools")
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo begun; exec sleep 60; }\n')
    uv.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, program, "runtime"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "begun\n"
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
