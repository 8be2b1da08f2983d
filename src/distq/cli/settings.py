"""`distq settings`: shows every setting, its value and its source."""

import json

import click

from distq.cli.environment import read_settings
from distq.settings import ROWS, Loaded, Role, Row


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@click.option(
    "--for",
    "role",
    type=click.Choice([role.value for role in Role]),
    default=Role.MASTER.value,
    show_default=True,
    help="The role whose defaults are shown.",
)
@click.pass_context
def command(context: click.Context, as_json: bool, role: str) -> None:
    """Show every setting, its value and its source; secrets are never shown."""
    loaded = read_settings(context, Role(role), needs_authkey=False)
    for warning in loaded.warnings:
        click.echo(f"distq: warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps([_as_json(row, loaded) for row in ROWS], indent=2))
    else:
        _print_table(loaded)


def _value(row: Row, loaded: Loaded) -> str | None:
    text = loaded.texts[row.name].text
    return "(secret)" if row.is_secret and text is not None else text


def _as_json(row: Row, loaded: Loaded) -> dict[str, object]:
    return {
        "name": row.name,
        "value": _value(row, loaded),
        "source": loaded.texts[row.name].source,
        "default": row.default,
        "kind": row.kind.name,
        "group": row.group,
        "used_by": sorted(row.used_by),
        "sentence": row.sentence,
    }


def _print_table(loaded: Loaded) -> None:
    from distq.cli.tables import print_table

    print_table(
        ["setting", "value", "source", "description"],
        [[row.name, _value(row, loaded) or "-", loaded.texts[row.name].source, row.sentence] for row in ROWS],
    )
