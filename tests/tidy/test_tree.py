"""Tests of the project's root: its files, their content, and the lock files."""

import ast
import os
import re
import sys
import tomllib
from pathlib import Path

from tests.tidy.tree import ROOT, files, python_files, text

from distq import __version__

FOLDERS = {
    ".ci",
    ".github",
    "benchmarks",
    "deploy",
    "docs",
    "examples",
    "findings",
    "helm",
    "images",
    "src",
    "tests",
    "tools",
}
PAPERS = {
    ".dclintrc.yaml",
    ".dockerignore",
    ".editorconfig",
    ".env.example",
    ".gitignore",
    ".hadolint.yaml",
    ".yamllint.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "compose.yaml",
    "docker-bake.hcl",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
}
BUILT_IN_MARKERS = {"parametrize", "skipif", "timeout", "usefixtures", "xdist_group", "xfail"}
"""Markers of pytest and its plugins."""
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def test_the_root_holds_only_what_was_decided() -> None:
    """A new folder or paper at the root is a decision: it is made here."""
    folders = {path.parts[0] for path in files() if len(path.parts) > 1}
    papers = {path.name for path in files() if len(path.parts) == 1}
    assert folders - FOLDERS == set()
    assert papers - PAPERS == set()


def test_the_changelog_has_a_place_for_the_present_version() -> None:
    """Users find what changed under the version or, before its release, under Unreleased."""
    headings = re.findall(r"^## \[(.+?)\]", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert {"Unreleased", __version__} & set(headings)


def test_the_locks_agree_and_name_no_index() -> None:
    """The development lock is the runtime lock and more; neither says where packages come from."""
    runtime = text(ROOT / "requirements.lock")
    dev = text(ROOT / "requirements-dev.lock")
    assert dict(PINNED.findall(runtime)).items() <= dict(PINNED.findall(dev)).items()
    assert "://" not in runtime + dev
    assert "--index" not in runtime + dev


def test_every_dependency_is_locked() -> None:
    """After a change of pyproject.toml `make lock` has been run."""
    project = tomllib.loads(text(ROOT / "pyproject.toml"))
    for lock, wanted in {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": project["dependency-groups"]["dev"],
    }.items():
        locked = dict(PINNED.findall(text(ROOT / lock)))
        names = {re.split(r"[<>=!~\[ ]", requirement)[0].lower() for requirement in wanted}
        assert names - locked.keys() == set()


def imported(path: Path) -> set[str]:
    """Return the top-level names that a file imports from outside its own package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_the_package_imports_only_what_it_depends_on() -> None:
    """What happens to be installed with something else may be gone on the next Python."""
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    wanted = {re.split(r"[<>=]", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    extras = set(project["optional-dependencies"])  # each is called what it lets a program import
    known = wanted - {"python_dotenv"} | {"dotenv", "distq"} | extras | sys.stdlib_module_names
    strangers = {str(path): imported(path) - known for path in python_files("src")}
    assert {path: names for path, names in strangers.items() if names} == {}


def test_every_marker_has_tests() -> None:
    """A marker whose tests are gone would let its part of `.ci/run` pass with nothing to run."""
    told = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["pytest"]["ini_options"]["markers"]
    suite = "".join(text(path) for path in python_files("tests") if path.parts[1] != "tidy")
    assert {line.partition(":")[0] for line in told} == {*re.findall(r"pytest\.mark\.(\w+)", suite)} - BUILT_IN_MARKERS


def test_every_target_of_make_says_what_it_does() -> None:
    """`make help` lists every target that a person may ask for."""
    makefile = text(ROOT / "Makefile")
    phony = set(re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE))


def test_what_is_run_by_name_may_be_run() -> None:
    """A file that begins with `#!` is executable."""
    scripts = [path for path in files() if text(path).startswith("#!")]
    assert [str(path) for path in scripts if not os.access(ROOT / path, os.X_OK)] == []
