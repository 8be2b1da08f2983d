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
ROOT_FILES = {
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
    "SECURITY.md",
    "llms.txt",
    "compose.yaml",
    "docker-bake.hcl",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
}
BUILT_IN_MARKERS = {"distq", "parametrize", "skipif", "timeout", "usefixtures", "xdist_group", "xfail"}
"""Markers of pytest and its plugins."""
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def test_the_root_holds_only_decided_entries() -> None:
    """A new folder or file at the root is a decision, which is recorded here."""
    folders = {path.parts[0] for path in files() if len(path.parts) > 1}
    root_files = {path.name for path in files() if len(path.parts) == 1}
    assert folders - FOLDERS == set()
    assert root_files - ROOT_FILES == set()


def test_the_changelog_has_a_section_for_the_present_version() -> None:
    """Users find the changes under the version or, before its release, under Unreleased."""
    headings = re.findall(r"^## \[(.+?)\]", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert {"Unreleased", __version__} & set(headings)


def test_the_locks_agree_and_name_no_index() -> None:
    """The development lock contains the runtime lock; neither names a package index."""
    runtime = text(ROOT / "requirements.lock")
    dev = text(ROOT / "requirements-dev.lock")
    assert dict(PINNED.findall(runtime)).items() <= dict(PINNED.findall(dev)).items()
    assert "://" not in runtime + dev
    assert "--index" not in runtime + dev


def test_every_dependency_is_locked() -> None:
    """`make lock` has been run after a change of pyproject.toml."""
    project = tomllib.loads(text(ROOT / "pyproject.toml"))
    for lock, required in {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": project["dependency-groups"]["dev"],
    }.items():
        locked = dict(PINNED.findall(text(ROOT / lock)))
        names = {re.split(r"[<>=!~\[ ]", requirement)[0].lower() for requirement in required}
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


def test_the_package_imports_only_its_dependencies() -> None:
    """A package that only another package depends on may be missing on the next Python."""
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    required = {re.split(r"[<>=]", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    extras = set(project["optional-dependencies"])  # an extra has the name of the module that it installs, or names it
    requirements = [one for extra in project["optional-dependencies"].values() for one in extra]
    extras |= {re.split(r"[<>=\[]", one)[0].replace("-", "_") for one in requirements}
    known = required - {"python_dotenv"} | {"dotenv", "distq"} | extras | sys.stdlib_module_names
    undeclared = {str(path): imported(path) - known for path in python_files("src")}
    undeclared["src/distq/pytest_plugin.py"].remove("pytest")  # only pytest imports this module
    undeclared["src/distq/client/progress/notebook.py"].remove("IPython")  # in a kernel, which has imported it
    assert {path: names for path, names in undeclared.items() if names} == {}


def test_every_marker_has_tests() -> None:
    """A step of `.ci/run` for a marker without tests would pass without running anything."""
    declared = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["pytest"]["ini_options"]["markers"]
    suite = "".join(text(path) for path in python_files("tests") if path.parts[1] != "tidy")
    assert {line.partition(":")[0] for line in declared} == {
        *re.findall(r"pytest\.mark\.(\w+)", suite)
    } - BUILT_IN_MARKERS


def test_every_target_of_make_has_a_description() -> None:
    """`make help` lists every target that a user may need."""
    makefile = text(ROOT / "Makefile")
    phony = set(re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE))


def test_every_script_is_executable() -> None:
    """A file that begins with `#!` is a script."""
    scripts = [path for path in files() if text(path).startswith("#!")]
    assert [str(path) for path in scripts if not os.access(ROOT / path, os.X_OK)] == []
