"""The OpenAPI document describes what the application has, and nothing else."""

import json
import re
from typing import Any

import jsonschema
from starlette.routing import Route
from tests.master.bench import Bench, on_bench
from tests.metrics.fakes import FakeMaster
from tests.tidy.tree import ROOT
from tests.web.http_bench import HttpBench, application

from distq.web import openapi
from distq.web.__main__ import FILE
from distq.web.problems import STATUS_BY_CODE
from distq.web.task_order import TASK_FIELDS

REFERENCE = ROOT / "docs" / "reference" / "http.md"


def test_the_committed_document_is_up_to_date() -> None:
    """`python -m distq.web` would change nothing."""
    assert (ROOT / FILE).read_text() == openapi.page()


@on_bench()
async def test_the_master_answers_the_document(bench: Bench) -> None:
    """It needs no key."""
    answer = await HttpBench(bench).ask("GET", openapi.PATH, headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == openapi.document()


def test_every_path_of_the_api_is_described_with_its_methods() -> None:
    """The document has no other path."""
    routes = application(FakeMaster()).routes
    served = {route.path for route in routes if isinstance(route, Route) and route.path.startswith("/api/")}
    assert served == {*openapi.document()["paths"], openapi.PATH}


def schemas_in(value: Any) -> list[Any]:
    """Return every schema in a part of the document."""
    if isinstance(value, dict):
        found = [value["schema"]] if isinstance(value.get("schema"), dict) else []
        return found + [schema for part in value.values() for schema in schemas_in(part)]
    return [schema for part in value for schema in schemas_in(part)] if isinstance(value, list) else []


def test_every_schema_is_valid_and_every_value_has_a_description() -> None:
    """A reader of the document needs no source."""
    document = openapi.document()
    for schema in (*schemas_in(document["paths"]), *document["components"]["schemas"].values()):
        jsonschema.Draft202012Validator.check_schema(schema)
        for name, field in schema.get("properties", {}).items():
            assert "description" in field or "properties" in field, name


def test_the_reference_names_every_field_path_and_status() -> None:
    """The page has a table of each."""
    page = REFERENCE.read_text()
    words = set(re.findall(r"`([a-z_]+)`", page))
    assert {field.name for field in TASK_FIELDS} <= words
    assert all(f" {path}" in page for path in openapi.document()["paths"])
    statuses = {int(status) for status in re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)}
    assert {*openapi.PROBLEMS, *STATUS_BY_CODE.values()} <= statuses


def test_the_document_is_small_json() -> None:
    """A client reads it at its start."""
    assert json.loads(openapi.page())["openapi"].startswith("3.1")
    assert len(openapi.page()) < 64 << 10
