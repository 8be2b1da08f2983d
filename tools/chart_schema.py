"""Builds the JSON schema of the chart's values from their defaults and from the `@schema` lines above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml

Schema = dict[str, Any]

POOL_NAME: Final = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"
"""Pattern of a pool's name: short enough for names of objects, which contain it, to stay below 63 characters."""
ANSWERED_IN_WORDS: Final = ("replicaCount", "workers", "resources", "env", "autoscaling")
"""Values of other charts, and of no chart. The schema allows them because `_checks.tpl` says what to use instead."""

OUR_MOUNTS: Final = ("/etc/distq", "/etc/distq-tls", "/tmp")  # noqa: S108 - paths in containers


def _object(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **more}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _volumes(*ours: str) -> Schema:
    """Return the schema of volumes whose names the chart does not use itself."""
    name = {"not": {"enum": list(ours)}}
    return _list_of({"type": "object", "required": ["name"], "properties": {"name": name}})


def _mounts(*ours: str) -> Schema:
    """Return the schema of mounts whose paths the chart does not use itself."""
    path = {"not": {"enum": list(ours)}}
    return _list_of({"type": "object", "required": ["name", "mountPath"], "properties": {"mountPath": path}})


def _named(types: Sequence[str]) -> Mapping[str, Schema]:
    return {name: {"type": "object"} for name in types}


TYPES: Final[Mapping[str, Schema]] = {
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "env": {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {
            "^[A-Za-z_][A-Za-z0-9_]*$": {
                "anyOf": [
                    {"type": ["string", "number", "boolean", "null"]},
                    _object({"valueFrom": {"type": "object"}}, required=["valueFrom"]),
                ]
            }
        },
    },
    "masterVolumeMounts": _mounts(*OUR_MOUNTS, "/var/lib/distq"),
    "masterVolumes": _volumes("authkey", "keys", "tls", "tmp", "data", "store"),
    "names": _list_of(_object({"name": {"type": "string"}}, required=["name"])),
    "object": {"type": "object"},
    "objects": _list_of({"type": "object"}),
    "pools": {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {POOL_NAME: {"anyOf": [{"$ref": "#/definitions/pool"}, {"type": "null"}]}},
    },
    "probes": _object(_named(("startup", "liveness", "readiness"))),
    "quantity": {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(k|Ki|[MGTPE]i?|[eE]\+?[0-9]+)?$"},
        ]
    },
    "quantityOrNone": {"anyOf": [{"const": ""}, {"$ref": "#/definitions/quantity"}]},
    "resources": _object({**_named(("requests", "limits")), "claims": {"type": "array"}}),
    "share": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}]},
    "texts": {"type": "object", "additionalProperties": {"type": "string"}},
    "workerVolumeMounts": _mounts(*OUR_MOUNTS),
    "workerVolumes": _volumes("authkey", "tls", "tmp", "tasks"),
}


class Untyped(ValueError):
    """A value's default does not show its type, and no `@schema` line states it."""


class Comment(NamedTuple):
    """The comment above a value."""

    sentence: str
    schema: str = ""
    """The text after `@schema`; empty if there is none."""


def schema_of(tree: Mapping[str, Any], comments: Mapping[str, Comment]) -> Schema:
    """Return the schema of all values, with their comments by path. Raises Untyped."""
    sections = {name: _schema(name, default, comments) for name, default in tree.items()}
    definitions: dict[str, Schema] = dict(TYPES)
    definitions["pool"] = sections["workerDefaults"]
    sections["workerDefaults"] = {"$ref": "#/definitions/pool"}
    for name in ANSWERED_IN_WORDS:
        sections[name] = {"description": "Not a value of this chart: the error says what to use instead."}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of distq's chart"}
    return {**head, **_object(sections), "definitions": {name: definitions[name] for name in sorted(definitions)}}


def _schema(path: str, default: Any, comments: Mapping[str, Comment]) -> Schema:
    sentence, written = comments[path]
    about = {"description": sentence} if sentence else {}
    if written in TYPES:
        # Draft 7 ignores keywords beside `$ref`, so the description must be outside of it.
        return {**about, "allOf": [{"$ref": f"#/definitions/{written}"}]}
    given = yaml.safe_load(written) if written else {}
    if isinstance(default, dict) and default:
        parts = {name: _schema(f"{path}.{name}", value, comments) for name, value in default.items()}
        return {**about, **_object(parts), **given}
    if default is None and "type" not in given:
        raise Untyped(f"{path} is null: state its type by `@schema` above it.")
    if default in ({}, []) and not given:
        raise Untyped(f"{path} is empty: state its type by `@schema` above it.")
    return {**about, **({} if default is None or "enum" in given else _type(default)), **given}


def _type(default: Any) -> Schema:
    """Return the type that a default shows."""
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(default)]}
