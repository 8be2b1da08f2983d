"""What holds of every code block, and the blocks that other programs read; test_pages_run.py runs the rest."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import click
import pytest
import yaml
from tests.conftest import nginx
from tests.docs.blocks import BLOCKS, PAGES, SHELL, Block
from tests.docs.pages import CHECKED
from tests.kit.chart import golden
from tests.kit.shell import CHART, compose, run
from tests.tidy.tree import ROOT, text

from distq.cli.app import app
from distq.settings import ROWS, Role, load

ABBREVIATED: Final = {"docs/how-to/backup-and-restore.md": "… stands for the commands of the section above it"}
"""Pages with a shell block that leaves out something, each with its reason."""


def blocks(*languages: str) -> list[object]:
    """Return the blocks of some languages as parameters of a test."""
    found = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(block, id=f"{block.page}-{number}") for number, block in enumerate(found)]


def checked_by(function: str) -> list[object]:
    """Return the blocks that the table says a test of this file checks, as its parameters."""
    named = {place for place, test in CHECKED.items() if test.endswith(f"::{function}")}
    found = [block for block in BLOCKS if (str(block.page), block.first) in named]
    return [pytest.param(block, id=f"{block.page}-{number}") for number, block in enumerate(found)]


def test_every_block_ends() -> None:
    """The number of fences is even, so no text is taken for code."""
    assert [page for page in PAGES if len(re.findall(r"^ *```", text(page), re.MULTILINE)) % 2] == []


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_is_python(block: Block) -> None:
    """It parses."""
    ast.parse(block.code)


@pytest.mark.parametrize("block", blocks("json"))
def test_a_json_block_is_json(block: Block) -> None:
    """It can be copied into a file."""
    json.loads(block.code)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_yaml_block_is_yaml(block: Block) -> None:
    """It has values, not only a comment."""
    assert yaml.safe_load(block.code)


@pytest.mark.parametrize("block", checked_by("test_a_block_of_settings_is_read"))
def test_a_block_of_settings_is_read(block: Block) -> None:
    """Each line sets one of them to a value that it takes."""
    environ = dict(line.split("=", 1) for line in block.code.splitlines())
    assert environ.keys() <= {row.name for row in ROWS}
    load(environ, Role.MASTER, needs_authkey=False)


@pytest.mark.parametrize("block", checked_by("test_a_block_of_values_renders_the_chart"))
def test_a_block_of_values_renders_the_chart(block: Block, tmp_path: Path) -> None:
    """Helm takes it as a file of values, and the chart's schema accepts it."""
    values = tmp_path / "values.yaml"
    values.write_text(block.code, encoding="utf-8")
    assert golden(values) != golden(CHART / "values.yaml")


@pytest.mark.docker
@pytest.mark.parametrize("block", checked_by("test_a_block_for_compose_overrides_the_file"))
def test_a_block_for_compose_overrides_the_file(block: Block, tmp_path: Path) -> None:
    """Compose reads both files; each value of the block is in the result."""
    override = tmp_path / "compose.override.yaml"
    override.write_text(block.code, encoding="utf-8")
    files = ("-f", str(ROOT / "compose.yaml"), "-f", str(override))
    services = json.loads(compose(*files, "config", "--format", "json"))["services"]
    for name, changed in yaml.safe_load(block.code)["services"].items():
        assert changed.pop("environment").items() <= services[name]["environment"].items()
        assert changed.keys() <= services[name].keys()


@pytest.mark.promtool
@pytest.mark.parametrize("block", checked_by("test_prometheus_accepts_its_block"))
def test_prometheus_accepts_its_block(block: Block, tmp_path: Path) -> None:
    """As an entry of `scrape_configs`."""
    config = tmp_path / "prometheus.yml"
    config.write_text(f"scrape_configs:\n{block.code}", encoding="utf-8")
    assert "SUCCESS" in run("promtool", "check", "config", config)


@pytest.mark.nginx
@pytest.mark.parametrize("block", checked_by("test_nginx_accepts_its_block"))
def test_nginx_accepts_its_block(block: Block, tmp_path: Path) -> None:
    """As a part of a server."""
    config = tmp_path / "nginx.conf"
    temporary = "".join(
        f"{of}_temp_path {tmp_path}/{of};" for of in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary} "
        f"server {{ listen 127.0.0.1:8080; {block.code} }} }}",
        encoding="utf-8",
    )
    run(nginx(), "-t", "-e", "stderr", "-c", str(config))


@pytest.mark.parametrize("block", blocks("logql"))
def test_a_query_of_logs_names_services_and_events_that_exist(block: Block) -> None:
    """They are in Compose's file, and in the reference of the log's events."""
    services = yaml.safe_load(text(Path("compose.yaml")))["services"]
    events = re.findall(r"^\| `(\w+)`", text(Path("docs/reference/logs.md")), re.MULTILINE)
    (found,) = re.findall(r'\{service="(\w+)"\} \| json \| event=~?"([^"]+)"', block.code)
    assert found[0] in services
    for pattern in found[1].split("|"):
        assert any(re.fullmatch(pattern, event) for event in events), pattern


@pytest.mark.parametrize("block", blocks(*SHELL))
def test_a_shell_block_is_understood_by_the_shell(block: Block) -> None:
    """Bash reads it without running it."""
    done = subprocess.run(["bash", "-n"], input=block.commands, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks(*SHELL))
def test_every_distq_command_of_a_shell_block_has_options_that_exist(block: Block) -> None:
    """Each line that begins with `distq` is read by the command line, and not run."""
    for line in block.commands.replace("\\\n", " ").splitlines():
        simple = re.split(r" [|&>]| 2>|;", line.partition(" #")[0])[0]
        if not simple.startswith("distq ") or "…" in simple:
            continue
        args = shlex.split(simple)[1:]
        command: click.Command = app
        context: click.Context | None = None
        while isinstance(command, click.Group) and args and args[0] not in ("--version", "--help"):
            context = command.make_context("distq", args, parent=context)
            args = [*context._protected_args, *context.args]
            _, found, args = command.resolve_command(context, args)
            assert found is not None
            command = found
        if not isinstance(command, click.Group):
            command.make_context(line, list(args), parent=context)


def test_every_abbreviated_page_has_an_abbreviation() -> None:
    """The list of exceptions has no page that needs none."""
    found = {str(block.page) for block in BLOCKS if block.language in SHELL and "\n…" in block.code}
    assert found == ABBREVIATED.keys()
