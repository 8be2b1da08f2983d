"""`distq demo`: a master, two workers and ten tasks on this machine."""

import click

from distq.cli.early import exit_at_ctrl_c


@click.command("demo")
def command() -> int:
    """Start a master and two workers, square ten random numbers, print the metrics, stop everything."""
    exit_at_ctrl_c()
    from distq.demo.squares import run

    return run()
