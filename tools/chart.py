"""Writes helm/README.md from the comments of helm/values.yaml: `python -m tools.chart`; a test finds any drift."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

HELM: Final = Path(__file__).resolve().parents[1] / "helm"
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
            yield Value(".".join(path), default if found[3] else None, _sentence(comment))
            comment = []
        elif not line.strip():
            comment = []


def _sentence(comment: list[str]) -> str:
    """A comment as one paragraph; what is indented in it is an example, for those who read the file."""
    return " ".join(line for line in comment if not line.startswith("  "))


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


def main() -> None:
    """Write the page."""
    text = (HELM / "values.yaml").read_text(encoding="utf-8")
    (HELM / "README.md").write_text(readme(text), encoding="utf-8")


if __name__ == "__main__":
    main()
