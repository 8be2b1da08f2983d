"""`distq doctor`: compares a running cluster with the hardening checklist, and explains what differs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import click

from distq.cli.ask import seconds
from distq.cli.doctor.compose import compose_facts
from distq.cli.doctor.kubernetes import kubernetes_facts, read_place
from distq.cli.doctor.model import OK, PROBLEM, STATES, UNKNOWN, WARNING, Finding, count_states, examine
from distq.cli.doctor.table import CHECKS, COMPOSE, KUBERNETES, MACHINE, MASTER, TITLES
from distq.cli.environment import DOTENV, read_settings
from distq.core.plurals import counted

COLOURS: Final = {OK: "green", WARNING: "yellow", PROBLEM: "red", UNKNOWN: "blue"}
WIDTH: Final = max(map(len, STATES))


@click.command("doctor")
@click.option(
    "--compose",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Check also the Compose project of this file, or of the current folder; needs `docker`.",
)
@click.option(
    "--kubernetes",
    metavar="NAMESPACE/RELEASE",
    help="Check also the objects of this release of the chart; needs `kubectl`, and reads no Secret.",
)
@click.option("--no-connect", is_flag=True, help="Do not connect to a master: check only what the options name.")
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings.")
@click.option("--quiet", is_flag=True, help="Print only what is not ok, and the summary.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--wait", metavar="DURATION", default="5s", show_default=True, help="Maximum time to reach the master.")
@click.pass_context
def command(
    context: click.Context,
    compose: str | None,
    kubernetes: str | None,
    no_connect: bool,
    strict: bool,
    quiet: bool,
    as_json: bool,
    wait: str,
) -> int:
    """Check a running cluster against the hardening checklist, and explain each finding.

    A finding is ok, a warning, a problem, or unknown where a fact cannot be had. The command changes nothing, and
    prints no key. A key with the role read is enough.

    Exit codes: 0 no problem, 1 a problem (with --strict also a warning). Nothing was checked with 2, as the usage or
    the settings are wrong, and with 3, as the master cannot be reached or refuses the key.
    """
    wait_s = seconds(wait, "--wait")
    place = None if kubernetes is None else _place(kubernetes)
    if no_connect and compose is None and kubernetes is None:
        raise click.UsageError("--no-connect leaves nothing to check without --compose or --kubernetes.", context)
    findings = [] if no_connect else _of_master(context, wait_s)
    if compose is not None:
        findings += examine(COMPOSE, CHECKS[COMPOSE], compose_facts(compose))
    if place is not None:
        findings += examine(KUBERNETES, CHECKS[KUBERNETES], kubernetes_facts(*place))
    if as_json:
        click.echo(json.dumps(as_object(findings), indent=2))
    else:
        print_findings(findings, quiet=quiet)
    counts = count_states(findings)
    return 1 if counts[PROBLEM] or (strict and counts[WARNING]) else 0


def _place(text: str) -> tuple[str, str]:
    try:
        return read_place(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--kubernetes") from None


def _of_master(context: click.Context, wait_s: float) -> list[Finding]:
    """The findings about the master at DISTQ_ADDRESS and about this machine. Raises DistqError."""
    from distq.cli.doctor.gather import local_facts, master_facts
    from distq.settings import Role

    loaded = read_settings(context, Role.CLIENT)
    for warning in loaded.warnings:
        click.echo(f"distq: warning: {warning}", err=True)
    facts = master_facts(loaded.settings, wait_s)
    local = local_facts(loaded, context.find_root().obj or DOTENV)
    return [*examine(MACHINE, CHECKS[MACHINE], local), *examine(MASTER, CHECKS[MASTER], facts)]


def as_object(findings: Sequence[Finding]) -> dict[str, object]:
    """The findings as an object of JSON."""
    return {"checks": [finding.fields() for finding in findings], "counts": dict(count_states(findings))}


def print_findings(findings: Sequence[Finding], *, quiet: bool) -> None:
    """Print a line for each finding, with the reason and the change where it is not ok, and a summary."""
    area = ""
    for finding in findings:
        if quiet and finding.state == OK:
            continue
        if finding.area != area:
            click.echo(("\n" if area else "") + TITLES[finding.area])
            area = finding.area
        state = click.style(finding.state.ljust(WIDTH), fg=COLOURS[finding.state])
        click.echo(f"  {state}  {finding.check.name}: {finding.found}")
        if finding.state in (WARNING, PROBLEM):
            click.echo(f"  {'':{WIDTH}}    why: {finding.check.why}")
            click.echo(f"  {'':{WIDTH}}    change: {finding.check.change}")
    click.echo(("\n" if area else "") + summary(findings))


def summary(findings: Sequence[Finding]) -> str:
    """One sentence with the number of findings in each state."""
    counts = count_states(findings)
    return (
        f"{counted(len(findings), 'check')}: {counts[OK]} ok, {counted(counts[WARNING], 'warning')}, "
        f"{counted(counts[PROBLEM], 'problem')}, {counts[UNKNOWN]} unknown."
    )
