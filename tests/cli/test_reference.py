"""The reference of the command line in the repository is what the commands would generate."""

import click
from tests.tidy.tree import ROOT

from distq.cli.app import app
from distq.cli.examples import EXAMPLES
from distq.cli.json_fields import FIELDS
from distq.cli.reference import commands, reference


def test_the_reference_is_up_to_date() -> None:
    """`python -m distq.cli.reference` would change nothing."""
    assert (ROOT / "docs/reference/cli.md").read_text() == reference()


def test_every_command_with_json_has_its_fields_in_the_reference() -> None:
    """And no other command."""
    found = {
        context.command_path.split(" ", 1)[1]
        for context, command in commands(app, click.Context(app, info_name="distq"))
        if any("--json" in option.opts for option in command.params)
    }
    assert found == FIELDS.keys() <= EXAMPLES.keys()
