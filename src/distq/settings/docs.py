"""`.env.example` and the settings reference, written from the table."""

from collections.abc import Iterator
from itertools import groupby

from distq.settings.row import Row
from distq.settings.table import ROWS

INTRODUCTION = """\
# Settings

<!-- Written by `python -m distq.settings` from src/distq/settings/table.py. -->

Every setting is a variable of the environment. A file called `.env` in the current folder is read too
(another by `distq --env-file PATH`); the environment wins over it. An empty value is the same as none.
`distq settings` shows what each setting is and where it came from.

One `.env` serves programs on a host and Compose. Values with a `$`, a `#`, a quote or a space at an end stand in
single quotes, and then both read the same; such a value may have no single quote and no backslash. Without quotes
Compose puts a variable in the place of `$NAME`, and distq does not. Four settings of a host are not Compose's:
where master and workers are (`DISTQ_ADDRESS`, `DISTQ_BIND`, `DISTQ_HTTP_ADDRESS`) and where the data is
(`DISTQ_STORE`; for Compose's master that is `MASTER_STORE`). A worker that finds `DISTQ_HTTP_ADDRESS` taken, as
beside a master with the same file, warns and serves no HTTP. In the chart's `env` values go through Kubernetes,
which replaces `$(NAME)` and makes one `$` of `$$`.

A value that cannot be read ends the command with exit code 2 and a sentence, and so does a line of `.env` that
cannot be read: a quote too few, a colon for `=`, another encoding than UTF-8, an invisible character before the name.
A setting that stands there twice with two values is a warning, and so is a value that begins with a quote of a word
processor, which belongs to the value. A variable that begins with
`DISTQ_` and is not a setting is a warning with the nearest name; variables that Kubernetes adds for a Service
(`DISTQ_…_SERVICE_…`, `DISTQ_…_PORT…`) are passed over.

The key has no default. Besides `DISTQ_AUTHKEY` it may come from a file (`DISTQ_AUTHKEY_FILE`). A master that
listens on more than loopback takes only keys of at least 16 characters; `distq key new` makes one."""


def env_example() -> str:
    """The text of `.env.example`: every setting, commented out, with its default."""
    lines = [
        "# Settings of distq, as variables of the environment or in a file called .env.",
        "# The environment wins over the file; an empty value is none.",
        "# A value with a $, a #, a quote or a space at an end stands in single quotes, as in DISTQ_AUTHKEY='a$b':",
        "# then distq on a host and Compose read the same. Without quotes Compose puts a variable in the place of",
        "# $NAME, and distq does not. No single quote and no backslash can stand in such a value.",
        "# Compose's master and workers take all of this file but where they listen and where the data is kept.",
        "# Written by `python -m distq.settings` from the table in src/distq/settings/table.py.",
    ]
    for group, rows in groupby(ROWS, key=lambda row: row.group):
        lines += ["", f"# {group}"]
        for row in rows:
            lines += [f"# {row.sentence}{_note(row)}", f"#{row.name}={row.default or ''}"]
    return "\n".join(lines) + "\n"


def chart_names() -> str:
    """The names of all settings, a line each: what the chart lets pods be given under names of ours."""
    return "".join(f"{row.name}\n" for row in ROWS)


def reference() -> str:
    """The text of the settings reference, in Markdown."""
    return "\n".join([INTRODUCTION, *_tables(), *_kinds()]) + "\n"


def _tables() -> Iterator[str]:
    for group, rows in groupby(ROWS, key=lambda row: row.group):
        yield from (
            "",
            f"## {group}",
            "",
            "| setting | kind | default | who | what |",
            "|---|---|---|---|---|",
        )
        yield from map(_table_row, rows)


def _table_row(row: Row) -> str:
    default = f"`{row.default}`" if row.default else "none"
    if row.default_of_worker:
        default += f"; worker: `{row.default_of_worker}`"
    who = ", ".join(sorted(row.used_by))
    return f"| `{row.name}` | {row.kind.name} | {default} | {who} | {row.sentence} |"


def _kinds() -> Iterator[str]:
    yield from ("", "## Kinds", "", "| kind | accepted |", "|---|---|")
    seen = {row.kind.name: row.kind.accepts for row in ROWS}
    for name in sorted(seen):
        yield f"| {name} | {seen[name]} |"


def _note(row: Row) -> str:
    return f" (worker: {row.default_of_worker})" if row.default_of_worker else ""
