"""Writes README.md and values.schema.json of the chart from the comments of its values.yaml: `python -m tools.chart`.

A test finds any drift.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from tools.chart_schema import Schema, Told, schema_of

HELM: Final = Path(__file__).resolve().parents[1] / "helm"
SCHEMA: Final = "@schema "
KEY: Final = re.compile(r"^( *)(\w+):(?: (.+))?$")
INTRODUCTION: Final = """\
# distq's chart

<!-- Written by `python -m tools.chart` from the comments of values.yaml. -->

    helm install distq ./helm --wait && helm test distq --logs

needs no value at all: a master with a volume, a pool of two workers, a key that upgrades keep. `values.schema.json`
knows every value, so that a slip of the pen is an error; values that are each right and do not go together are one that
says what to do.

Every environment variable with our prefix is a [setting](../docs/reference/settings.md); they go into `master.env` and
`workerDefaults.env`, or a pool's. Clients in other pods of the namespace need the label `distq/client: "true"`.
"""


class Value(NamedTuple):
    """One value: where it stands, what it is if nothing is said, and what it does."""

    path: str
    default: Any
    sentence: str
    schema: str
    """What stands behind `@schema`, '' if nothing does."""


def values(text: str) -> Iterator[Value]:
    """All values that are leaves, and all sections, in the order in which they are written."""
    tree = yaml.safe_load(text)
    above: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if line.lstrip().startswith("# "):
            comment.append(line.strip().removeprefix("#").removeprefix(" "))
        elif found:
            indent, key = len(found[1]), found[2]
            above = [(other, name) for other, name in above if other < indent]
            above.append((indent, key))
            path = [name for _, name in above]
            default: Any = tree
            for name in path:
                default = default[name]
            yield Value(".".join(path), default if found[3] else None, *_told(comment))
            comment = []
        elif not line.strip():
            comment = []


def _told(comment: list[str]) -> Told:
    """A comment as one paragraph, and its schema; what is indented in it is an example, for those who read the file."""
    said = [line.removeprefix(SCHEMA) for line in comment if line.startswith(SCHEMA)]
    told = [line for line in comment if not line.startswith((SCHEMA, "  "))]
    return Told(" ".join(told), *said)


def is_section(value: Value, text: str) -> bool:
    """Whether a value is only the place of others."""
    return re.search(rf"^ *{value.path.rpartition('.')[2]}:$", text, re.MULTILINE) is not None and value.default is None


def readme(text: str) -> str:
    """The page of that values file."""
    lines = [INTRODUCTION]
    section = ""
    for value in values(text):
        top = value.path.partition(".")[0]
        if top != section:
            section = top
            about = value.sentence if is_section(value, text) else ""
            lines += [f"## `{section}`", "", *([about, ""] if about else []), "| value | default | |", "|---|---|---|"]
        if not is_section(value, text) or value.path == "workerPools":
            told = value.sentence.replace("|", "\\|")
            lines.append(f"| `{value.path}` | `{json.dumps(value.default)}` | {told} |")
        elif "." in value.path and value.sentence:
            lines.append(f"| `{value.path}` | | {value.sentence} |")
    page = "\n".join(lines) + "\n"
    return re.sub(r"(\|\n)(## )", r"\1\n\2", page)


def schema(text: str) -> Schema:
    """The schema of that values file."""
    told = {value.path: Told(value.sentence, value.schema) for value in values(text)}
    return schema_of(yaml.safe_load(text), told)


def files() -> dict[Path, str]:
    """What is made of the values file, by where it stands."""
    text = (HELM / "values.yaml").read_text(encoding="utf-8")
    written = json.dumps(schema(text), indent=2, ensure_ascii=False) + "\n"
    return {HELM / "README.md": readme(text), HELM / "values.schema.json": written}


def main() -> None:
    """Write both."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
