"""What holds of every code block, and the blocks that other programs read; test_pages_run.py runs the rest."""

import ast
import json
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import jsonschema
import pytest
import yaml
from tests.conftest import nginx
from tests.docs.blocks import BLOCKS, PAGES, SHELL, Block, blocks_of
from tests.docs.pages import CHECKED
from tests.kit.chart import golden, render
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


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_block_of_a_page_is_made_by_indentation(page: Path) -> None:
    """It would be no block for these tests: nothing would run it."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text(page), flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n{2,}", prose)
    below = [
        after for before, after in pairwise(paragraphs) if not re.search(r"^ *(?:[-*]|\d+\.) ", before, re.MULTILINE)
    ]
    assert [paragraph for paragraph in below if paragraph.startswith("    ")] == []


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


CLOUDNATIVEPG: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "postgresql.cnpg.io/v1"},
        "kind": {"const": "Cluster"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["instances"],
            "properties": {
                "instances": {"type": "integer", "minimum": 1},
                "storage": {"properties": {"size": {"pattern": r"^\d+[KMGT]i$"}}, "additionalProperties": False},
                "bootstrap": {
                    "additionalProperties": False,
                    "properties": {
                        "initdb": {
                            "properties": {"database": {"type": "string"}, "owner": {"type": "string"}},
                            "additionalProperties": False,
                        }
                    },
                },
                "postgresql": {
                    "additionalProperties": False,
                    "properties": {
                        "synchronous": {
                            "required": ["method", "number"],
                            "properties": {
                                "method": {"enum": ["any", "first"]},
                                "number": {"type": "integer", "minimum": 1},
                                "dataDurability": {"enum": ["required", "preferred"]},
                            },
                            "additionalProperties": False,
                        }
                    },
                },
            },
        },
    },
}
"""The fields of CloudNativePG's Cluster v1 that the page uses, as its documentation of version 1.28 describes them."""


def test_the_database_of_the_page_is_one_of_cloudnativepg() -> None:
    """Its fields exist, and the values of the chart below it name the Secret and the pods that the operator makes."""
    page = Path("docs/how-to/postgresql-on-kubernetes.md")
    database, values = (yaml.safe_load(block.code) for block in blocks_of(page)[:2])
    jsonschema.validate(database, CLOUDNATIVEPG)
    name, spec = database["metadata"]["name"], database["spec"]
    assert spec["postgresql"]["synchronous"]["number"] < spec["instances"], "the operator refuses it"
    assert values["master"]["store"] == {"existingSecret": f"{name}-app"}
    assert values["networkPolicy"]["storeTo"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": name}}}]


def kubectl_commands() -> list[str]:
    """Return the commands of kubectl in the shell blocks and in the sentences of the pages, up to `--`."""
    lines = [line for block in BLOCKS if block.language in SHELL for line in block.commands.splitlines()]
    typed = [line.partition(" #")[0] for line in lines if line.startswith("kubectl ")]
    named = [found for page in PAGES for found in re.findall(r"`(kubectl [^`]+)`", text(page))]
    return sorted({re.split(r" --(?: |$)", line)[0].strip() for line in (*typed, *named)})


@pytest.mark.kubectl
@pytest.mark.parametrize("command", kubectl_commands())
def test_kubectl_understands_a_command(command: str, tmp_path: Path) -> None:
    """Its command and options exist; the objects that it creates have the names and the keys of the command."""
    words = shlex.split(re.sub(r"\$\(.*?\)", "VALUE", command))[1:]
    assert re.search(rf"^ +kubectl {words[0]} ", run("kubectl", *words, "--help"), re.MULTILINE)
    if words[0] != "create":
        return
    sources = [word.partition("=")[2] for word in words if word.startswith("--from-")]
    for name in (source for source in sources if "=" not in source):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
        words = [word.replace(name, str(tmp_path / name)) for word in words]
    made = json.loads(run("kubectl", *words, "--dry-run=client", "--output=json"))
    assert made["metadata"]["name"] in words
    assert made["data"].keys() == {Path(source.partition("=")[0]).name for source in sources}


def test_every_object_that_a_kubectl_command_names_is_one_of_the_chart() -> None:
    """A release has the name distq on the pages, or NAME where the reader's own is meant."""
    kinds = {"deploy": "Deployment", "deployment": "Deployment", "statefulset": "StatefulSet", "svc": "Service"}
    named = {
        (kinds[kind], name.replace("NAME-", "distq-"))
        for command in kubectl_commands()
        for kind, name in re.findall(r" (deploy(?:ment)?|statefulset|svc)[/ ]([\w-]+)", command)
    }
    assert len(named) >= len({*kinds.values()})
    assert named <= render().keys()


TEXT: Final = r'"(?:[^"\\]|\\.)*"'
SELECTION: Final = re.compile(
    rf'\{{service=~?"([\w|]+)"\}}((?: \|(?:= {TEXT}| json| line_format {TEXT}| \w+(?:=~|!=|=){TEXT}))*)'
)
"""A query that selects lines of the log: services, and filters by text, by fields and by their format."""
COUNTED: Final = re.compile(r"sum by \((\w+)\) \(count_over_time\((.+) \[\d+[smh]\]\)\)")
"""A query that counts selected lines by a field, or by the label of Compose's container."""


LOGQL: Final = [block for block in BLOCKS if block.language == "logql"]


def queries() -> list[str]:
    """Return the queries of logs in the blocks and in the sentences and tables of the pages."""
    named = [found for page in PAGES for found in re.findall(r"`([^`\n]*\{service=[^`\n]*)`", text(page))]
    return sorted({found.strip().replace("\\|", "|") for found in (*named, *(block.code for block in LOGQL))})


@pytest.mark.parametrize("query", queries(), ids=lambda query: re.sub(r"\W+", "-", query)[:60])
def test_a_query_of_logs_names_services_and_events_that_exist(query: str) -> None:
    """They are in Compose's file, and in the reference of the log's events, as are the fields of these events."""
    counted = COUNTED.fullmatch(query)
    selected = SELECTION.fullmatch(counted[2] if counted else query)
    assert selected is not None, "not a query of the kinds above"
    services, stages = selected[1].split("|"), selected[2]
    assert set(services) <= yaml.safe_load(text(Path("compose.yaml")))["services"].keys()
    rows = re.findall(r"^\| (`[^|]+`) \|[^|]*\|([^|]*)\|([^|]*)\|", text(Path("docs/reference/logs.md")), re.MULTILINE)
    rows = [row for row in rows if any(one in row[1] for one in services)]
    events = {event: fields for names, _, fields in rows for event in re.findall(r"\w+", names)}
    filters = re.findall(rf" \| (\w+)(?:=~|!=|=)({TEXT})", stages)
    for pattern in [part for label, value in filters if label == "event" for part in value.strip('"').split("|")]:
        assert any(re.fullmatch(pattern, event) for event in events), pattern
    patterns = "|".join(value.strip('"') for label, value in filters if label == "event") or ".*"
    known = "".join(fields for event, fields in events.items() if re.fullmatch(patterns, event))
    used = (
        {label for label, _ in filters}
        | set(re.findall(r"\{\{\.(\w+)\}\}", stages))
        | ({counted[1]} if counted else set())
    )
    assert {field for field in used - {"event", "container"} if f"`{field}`" not in known} == set()


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
