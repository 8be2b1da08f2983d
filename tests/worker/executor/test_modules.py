"""Tests of the folders in which the executor looks for modules of tasks."""

import os
import sys
from pathlib import Path

import pytest

from distq.worker.executor.modules import ModuleShadowed, add_current_folder, check_not_shadowed, import_modules


@pytest.fixture(autouse=True)
def isolated_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a separate folder with a separate path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


def test_the_current_folder_comes_behind_the_standard_library_and_before_packages(tmp_path: Path) -> None:
    """A file queue.py replaces no standard module, and the executor finds a file tasks.py."""
    add_current_folder()
    at = sys.path.index(str(tmp_path))
    home = str(Path(os.__file__).parent)
    assert sys.path.index(home) < at
    assert all("site-packages" not in folder for folder in sys.path[:at])


def test_the_current_folder_is_left_out_with_pythonsafepath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself does so, too."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    add_current_folder()
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("path", ["queue.py", "logging/__init__.py", "json/decoder.py", "distq/tasks/__init__.py"])
def test_a_module_of_tasks_that_another_one_hides_is_refused_with_its_file(tmp_path: Path, path: str) -> None:
    """Otherwise the executor would know none of its tasks, and report no reason."""
    add_current_folder()
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    name = path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    with pytest.raises(ModuleShadowed, match=path):
        import_modules([name])


def test_a_folder_named_distq_hides_no_module(tmp_path: Path) -> None:
    """A checkout of distq has that name, and the modules of the installed one are found."""
    (tmp_path / "distq" / "src").mkdir(parents=True)
    add_current_folder()
    check_not_shadowed("distq.demo.tasks")
    check_not_shadowed("json.decoder")


def test_a_file_in_pythonpath_wins(tmp_path: Path) -> None:
    """A user who sets PYTHONPATH intends that."""
    (tmp_path / "this.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    check_not_shadowed("this")
