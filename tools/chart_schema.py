"""The JSON schema of the chart's values: of their defaults, and of what `@schema` says above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml

Schema = dict[str, Any]

POOL_NAME: Final = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"
"""Short enough for the names of a release and of what belongs to a pool to stay under 63 characters."""
ANSWERED_IN_WORDS: Final = ("replicaCount", "workers", "resources", "env", "autoscaling", "master.replicas")
"""Values of other charts, or of none: `_checks.tpl` says what to use, so the schema must let them through."""

OUR_MOUNTS: Final = ("/etc/distq", "/tmp")  # noqa: S108 - places in containers


def _object(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **more}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _volumes(*ours: str) -> Schema:
    """Volumes whose names are not the chart's own."""
    name = {"not": {"enum": list(ours)}}
    return _list_of({"type": "object", "required": ["name"], "properties": {"name": name}})


def _mounts(*ours: str) -> Schema:
    """Mounts at none of the chart's own places."""
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
    "masterVolumes": _volumes("authkey", "tmp", "data"),
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
    "workerVolumes": _volumes("authkey", "tmp", "tasks"),
}


class Untyped(ValueError):
    """A default does not tell a value's type, and nobody has said it."""


class Told(NamedTuple):
    """What the comment above a value says of it."""

    sentence: str
    schema: str = ""
    """What stands behind `@schema`."""


def schema_of(tree: Mapping[str, Any], told: Mapping[str, Told]) -> Schema:
    """The schema of all values; `told` by path. Raises Untyped."""
    sections = {name: _schema(name, default, told) for name, default in tree.items()}
    definitions: dict[str, Schema] = dict(TYPES)
    definitions["pool"] = sections["workerDefaults"]
    sections["workerDefaults"] = {"$ref": "#/definitions/pool"}
    for path in ANSWERED_IN_WORDS:
        section, _, name = path.rpartition(".")
        place = sections[section]["properties"] if section else sections
        place[name] = {"description": "Not a value: the chart says what to use."}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of distq's chart"}
    return {**head, **_object(sections), "definitions": {name: definitions[name] for name in sorted(definitions)}}


def _schema(path: str, default: Any, told: Mapping[str, Told]) -> Schema:
    sentence, said = told[path]
    about = {"description": sentence} if sentence else {}
    if said in TYPES:
        # What stands beside a reference says nothing in draft 7, so the sentence stands outside of it.
        return {**about, "allOf": [{"$ref": f"#/definitions/{said}"}]}
    given = yaml.safe_load(said) if said else {}
    if isinstance(default, dict) and default:
        parts = {name: _schema(f"{path}.{name}", value, told) for name, value in default.items()}
        return {**about, **_object(parts), **given}
    if default is None and "type" not in given:
        raise Untyped(f"{path} is null: say `@schema` above it.")
    if default in ({}, []) and not given:
        raise Untyped(f"{path} is empty: say `@schema` above it.")
    return {**about, **({} if default is None or "enum" in given else _type(default)), **given}


def _type(default: Any) -> Schema:
    """What a default tells of a value's type."""
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(default)]}
