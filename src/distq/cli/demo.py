"""`distq demo`: a master, two workers and ten tasks on this machine."""

import click


@click.command("demo")
def command() -> int:
    """Start a master and two workers, square ten random numbers, print the metrics, stop everything."""
    from distq.demo.squares import run

    return run()
