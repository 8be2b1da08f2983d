"""Tests of `distq init`: its project runs at once, and it overwrites nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.ports import free_port
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

from distq import __version__
from distq.cli.app import run
from distq.cli.project import project_files
from distq.settings.dotenv_file import read_dotenv
from distq.settings.table import ROWS

FILES = {"tasks.py", "program.py", "test_tasks.py", "compose.yaml", ".env", ".gitignore"}
PLUGIN = ("-p", "no:cacheprovider", "-W", "error")


@pytest.fixture(name="project")
def new_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder in which `distq init` has written its files."""
    folder = tmp_path / "jobs"
    assert run(["init", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == FILES
    assert all(name in printed for name in FILES)
    assert f"cd {folder}" in printed
    return folder


def test_the_test_of_a_new_project_passes(project: Path) -> None:
    """With pytest in the project's folder, without a master; each warning is an error."""
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_program_of_a_new_project_prints_the_results_of_distq_up(project: Path) -> None:
    """Both read the key from .env; only the ports are others, since more tests run on this machine."""
    environ = {**os.environ, "DISTQ_ADDRESS": f"127.0.0.1:{free_port()}", "DISTQ_HTTP_ADDRESS": "off"}
    environ.pop("DISTQ_AUTHKEY", None)
    log = project.parent / "log"
    command = [sys.executable, "-m", "distq", "up", "tasks", "--concurrency", "1"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=project, env=environ, stdout=out, stderr=out) as up:
        try:
            eventually(lambda: "export DISTQ_ADDRESS" in log.read_text(), "the cluster runs", log.read_text)
            program = [sys.executable, "-W", "error", "program.py"]
            done = subprocess.run(
                program, cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=SOON_S
            )
            assert done.returncode == 0, done.stderr + log.read_text()
            assert done.stdout.splitlines() == ["to be or not to be: 6 words", "that is the question: 4 words"]
        finally:
            up.terminate()
        assert up.wait(SOON_S) == 0, log.read_text()


def test_only_the_owner_reads_the_key_of_a_new_project(project: Path) -> None:
    """The key is in .env, which git ignores; each project has a key of its own."""
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert ".env" in (project / ".gitignore").read_text().splitlines()
    settings = read_dotenv(project / ".env", "DISTQ_").variables
    assert settings.keys() <= {row.name for row in ROWS}
    assert len(settings["DISTQ_AUTHKEY"] or "") >= 32
    assert run(["init", str(project.parent / "other")]) == 0
    assert (
        read_dotenv(project.parent / "other" / ".env", "DISTQ_").variables["DISTQ_AUTHKEY"] != settings["DISTQ_AUTHKEY"]
    )


def test_the_compose_file_of_a_new_project_uses_the_images_of_this_version(project: Path) -> None:
    """Its settings exist, its files exist, its ports are on the loopback, and its images are those of compose.yaml."""
    written = yaml.safe_load((project / "compose.yaml").read_text())
    ours = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in written["services"].items():
        assert service["image"] == "${REGISTRY:-}" + ours[name]["image"].partition("${VARIANT")[0]
        assert service["image"].endswith(f":{__version__}")
        assert service["environment"].keys() <= {row.name for row in ROWS}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["read_only"] is True
    (mounted,) = written["services"]["worker"]["volumes"]
    assert (project / mounted.partition(":")[0]).is_file()


def test_a_folder_with_one_of_the_files_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the files, also a link that leads nowhere; nothing is written."""
    (tmp_path / "tasks.py").write_text("mine")
    (tmp_path / ".env").symlink_to("nowhere")
    assert run(["init", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "already has tasks.py and .env, and `distq init` overwrites no file." in error
    assert {path.name for path in tmp_path.iterdir()} == {"tasks.py", ".env"}
    assert (tmp_path / "tasks.py").read_text() == "mine"


def test_a_gitignore_stays_and_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A project under git has one: everything else is written."""
    (tmp_path / ".gitignore").write_text("mine\n")
    assert run(["init", str(tmp_path)]) == 0
    assert ".gitignore exists and is unchanged: make sure that it has a line .env" in capsys.readouterr().out
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands in the way of a parent folder."""
    (tmp_path / "file").touch()
    assert run(["init", str(tmp_path / "file" / "jobs")]) == 2
    assert f"{tmp_path / 'file' / 'jobs'} cannot be written: Not a directory." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my jobs", "myjobs"),
        ("2026", "2026"),
        ("Größe_2", "gre_2"),
        ("日本", "distq"),
        ("-a.b", "ab"),
        ("...", "distq"),
        ("it's", "its"),
    ],
)
def test_a_folder_of_any_name_is_a_project_of_compose(
    folder: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compose starts no project whose name it cannot derive; and the printed `cd` works in a shell."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--", folder]) == 0
    (change,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  cd ")]
    shown = subprocess.run(["sh", "-c", f"{change} && pwd -P"], capture_output=True, text=True, check=True).stdout
    assert shown == f"{(tmp_path / folder).resolve()}\n"
    assert yaml.safe_load((tmp_path / folder / "compose.yaml").read_text())["name"] == name


def test_git_ignores_the_key_of_a_project_within_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything but .env would be committed."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    assert run(["init", "jobs"]) == 0
    capsys.readouterr()
    listed = ("git", "ls-files", "--others", "--exclude-standard")
    added = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    assert set(added) == {f"jobs/{name}" for name in FILES - {".env"}}


def test_version_and_name_are_the_only_braces_of_compose() -> None:
    """The text is a format: a brace of Compose that is not doubled would be a field."""
    files = project_files("1.2.3", "k" * 43, "jobs")
    assert "${DISTQ_AUTHKEY}" in files["compose.yaml"]
    assert "distq-master:1.2.3" in files["compose.yaml"]
    assert "{{" not in "".join(files.values())
