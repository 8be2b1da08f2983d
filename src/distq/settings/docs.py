"""Writes `.env.example` and the settings reference from the table."""

from collections.abc import Iterator
from itertools import groupby

from distq.settings.row import Row
from distq.settings.table import ROWS

INTRODUCTION = """\
# Settings

<!-- Written by `python -m distq.settings` from src/distq/settings/table.py. -->

Set each setting as an environment variable, or in a file `.env` in the current folder (or in another file:
`distq --env-file PATH`). The environment takes precedence. An empty value is the same as no value.
`distq settings` shows each setting, its value and its source.

Programs on a host and Compose can share one `.env`. Put values that contain a `$`, a `#`, a quote, or a space at an
end in single quotes: distq and Compose then read the same value. Such a value cannot contain a single quote or a
backslash. Without quotes Compose replaces `$NAME` by the variable's value, and distq does not. Compose does not use
the four settings that belong to a host: `DISTQ_ADDRESS`, `DISTQ_BIND`, `DISTQ_HTTP_ADDRESS` and `DISTQ_STORE` (set
`MASTER_STORE` for Compose's master). If `DISTQ_HTTP_ADDRESS` is in use, for example by a master with the same file, a
worker logs a warning and serves no HTTP. In the chart's `env`, Kubernetes replaces `$(NAME)` and turns `$$` into `$`.

If a value or a line of `.env` cannot be read, the command prints an error and exits with code 2. Examples of such
lines: an open quote, a colon instead of `=`, an encoding other than UTF-8, an invisible character before the name.
distq prints a warning for:

- a setting that is in the file twice with different values;
- a value that begins with a typographic quote, which is then part of the value;
- a variable that begins with `DISTQ_` and is not a setting; the warning names the most similar setting. distq ignores
  the variables that Kubernetes adds for a Service (`DISTQ_…_SERVICE_…`, `DISTQ_…_PORT…`).

The key has no default. Set `DISTQ_AUTHKEY`, or `DISTQ_AUTHKEY_FILE` to the path of a file that contains it. A master
that listens on other addresses than loopback requires keys of at least 16 characters; `distq key new` makes one."""


def env_example() -> str:
    """Return the text of `.env.example`: every setting as a comment, with its default."""
    lines = [
        "# Settings of distq, as environment variables or in a file .env.",
        "# The environment takes precedence; an empty value is the same as no value.",
        "# Put a value that contains a $, a #, a quote, or a space at an end in single quotes: DISTQ_AUTHKEY='a$b'.",
        "# distq and Compose then read the same value. Without quotes Compose replaces $NAME by the variable's value,",
        "# and distq does not. A quoted value cannot contain a single quote or a backslash.",
        "# Compose's master and workers use this whole file except the addresses and the store.",
        "# Written by `python -m distq.settings` from the table in src/distq/settings/table.py.",
    ]
    for group, rows in groupby(ROWS, key=lambda row: row.group):
        lines += ["", f"# {group}"]
        for row in rows:
            lines += [f"# {row.sentence}{_note(row)}", f"#{row.name}={row.default or ''}"]
    return "\n".join(lines) + "\n"


def chart_names() -> str:
    """Return the names of all settings, one per line: the chart admits no other DISTQ_ variable."""
    return "".join(f"{row.name}\n" for row in ROWS)


def reference() -> str:
    """Return the text of the settings reference, in Markdown."""
    return "\n".join([INTRODUCTION, *_tables(), *_kinds()]) + "\n"


def _tables() -> Iterator[str]:
    for group, rows in groupby(ROWS, key=lambda row: row.group):
        yield from (
            "",
            f"## {group}",
            "",
            "| setting | kind | default | read by | description |",
            "|---|---|---|---|---|",
        )
        yield from map(_table_row, rows)


def _table_row(row: Row) -> str:
    default = f"`{row.default}`" if row.default else "none"
    if row.default_of_worker:
        default += f"; worker: `{row.default_of_worker}`"
    readers = ", ".join(sorted(row.used_by))
    return f"| `{row.name}` | {row.kind.name} | {default} | {readers} | {row.sentence} |"


def _kinds() -> Iterator[str]:
    yield from ("", "## Kinds", "", "| kind | accepted |", "|---|---|")
    seen = {row.kind.name: row.kind.accepts for row in ROWS}
    for name in sorted(seen):
        yield f"| {name} | {seen[name]} |"


def _note(row: Row) -> str:
    return f" (worker: {row.default_of_worker})" if row.default_of_worker else ""
