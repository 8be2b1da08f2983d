"""The fields of a request: each has one declaration, which the handlers use to read it and OpenAPI to describe it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from re import Pattern
from typing import Any, Final, NamedTuple

from distq.core.ranges import COUNTS, SPANS, is_duration, plain_text, shown, text

Schema = Mapping[str, Any]
Read = Callable[[str, Any], Any]
"""Returns the checked value of a field of that name; raises TypeError or ValueError with a sentence."""


_VISIBLE: Final = re.compile(r"[^\s\x1c-\x1f\x85\ufeff]")
"""A character that is no blank; JavaScript and Python differ in whether these four are."""


class Field(NamedTuple):
    """One field of a request."""

    name: str
    schema: Schema
    """The values that it takes, as JSON Schema."""
    description: str
    read: Read
    is_required: bool = False

    def value(self, given: Any) -> Any:
        """The checked value; None if an optional field is null."""
        return None if given is None and not self.is_required else self.read(self.name, given)

    def nullable(self) -> dict[str, Any]:
        """The schema with the description; an optional field may also be null."""
        schema = {**self.schema, "description": self.description}
        if not self.is_required:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        return schema


def whole_field(name: str, description: str) -> Field:
    """An option that is a whole number."""
    least, most = COUNTS[name]

    def read(name: str, given: Any) -> int:
        # JSON has one kind of number: 3.0 is 3
        if type(given) not in (int, float) or given != int(given) or not least <= given <= most:
            raise ValueError(f"{name} is a whole number from {least:,} to {most:,}, not {shown(given)}")
        return int(given)

    return Field(name, {"type": "integer", "minimum": least, "maximum": most}, description, read)


def seconds_field(option: str, description: str) -> Field:
    """An option that is a duration, as a number of seconds."""
    span = SPANS[option]
    least = {"exclusiveMinimum": 0} if span.positive else {"minimum": span.least_s}

    def read(name: str, given: Any) -> float:
        good = is_duration(given) and span.least_s <= given <= span.most_s and not (span.positive and given == 0)
        if not good:
            bounds = "above 0" if span.positive else f"from {span.least_s:g}"
            raise ValueError(f"{name} is a number of seconds {bounds} to {span.most_s:,.0f}, not {shown(given)}")
        return float(given)

    return Field(f"{option}_s", {"type": "number", **least, "maximum": span.most_s}, description, read)


def text_field(name: str, bytes_max: int, description: str, *, is_required: bool = False) -> Field:
    """A text of at most that many bytes in UTF-8, which is not blank."""

    def read(name: str, given: Any) -> str:
        read = text(name, given, bytes_max)
        if not _VISIBLE.search(read):
            raise ValueError(f"{name} is a text, and not a blank one: {shown(given)}")
        return read

    schema = {"type": "string", "minLength": 1, "maxLength": bytes_max, "pattern": _VISIBLE.pattern}
    return Field(name, schema, description, read, is_required)


def shaped_field(name: str, shape: Pattern[str], example: str, description: str) -> Field:
    """A text of a certain form."""

    def read(name: str, given: Any) -> str:
        if not (isinstance(given, str) and shape.fullmatch(given)):
            raise ValueError(f"{name} is a text such as {example}, of the form {shape.pattern}, not {shown(given)}")
        return plain_text(given)

    return Field(name, {"type": "string", "pattern": f"^{shape.pattern}$"}, description, read)


def choice_field(name: str, choices: tuple[str, ...], description: str) -> Field:
    """One of several words."""

    def read(name: str, given: Any) -> str:
        if given not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, not {shown(given)}")
        return str(given)

    return Field(name, {"type": "string", "enum": list(choices)}, description, read)


def read_fields(fields: tuple[Field, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of all fields, None for one that is left out; raises TypeError or ValueError."""
    known = {field.name for field in fields}
    if unknown := given.keys() - known:
        raise ValueError(f"there is no field {shown(min(unknown))}; the fields are {', '.join(sorted(known))}")
    for field in fields:
        if field.is_required and field.name not in given:
            raise ValueError(f"the field {field.name!r} is missing: {field.description}")
    return {field.name: field.value(given.get(field.name)) for field in fields}


def object_schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": {field.name: field.nullable() for field in fields},
        "required": [field.name for field in fields if field.is_required],
        "additionalProperties": False,
    }
