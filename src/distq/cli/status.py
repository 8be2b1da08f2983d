"""`distq status`: shows the master's queues and workers."""

from contextlib import closing
from typing import Any

import click

from distq.cli.ask import seconds
from distq.cli.environment import settings_of_command
from distq.cli.text import duration, printable
from distq.cli.watch import Reconnecting, json_option, print_json, repeat, watch_option
from distq.core.plurals import counted
from distq.net.dial import Connection
from distq.protocol.methods import BROKER, STATS
from distq.settings import Role

WHATS = ("overview", "queues", "workers")


@click.command("status")
@json_option
@watch_option
@click.option(
    "--wait", "wait", metavar="DURATION", default="5s", show_default=True, help="Maximum time to reach the master."
)
@click.pass_context
def command(context: click.Context, as_json: bool, watch: str | None, wait: str) -> None:
    """Show the queues, workers and slots of the master at DISTQ_ADDRESS."""
    settings, wait_s = settings_of_command(context, Role.CLIENT), seconds(wait, "--wait")
    with closing(Reconnecting(settings, "status", wait_s)) as master:
        repeat(
            watch,
            lambda: {what: fetched(master.current(), what, wait_s) for what in WHATS},
            lambda status: print_json(status, watch) if as_json else print_status(status),
        )


def fetched(connection: Connection, what: str, wait_s: float) -> dict[str, Any]:
    """Return the master's answer; it comes in pages if there are many queues, from the previous release in one."""
    answer: Any = connection.call(BROKER, STATS, (what, "") if what == "queues" else (what,), timeout_s=wait_s)
    found: dict[str, Any] = dict(answer)
    while (after := answer.get("next")) is not None:
        answer = connection.call(BROKER, STATS, (what, after), timeout_s=wait_s)
        found[what] = found[what] + answer[what]
    found.pop("next", None)
    return found


def print_status(status: dict[str, Any]) -> None:
    """Print the master's figures about itself, its queues and its workers as tables."""
    from distq.cli.tables import print_table

    overview, queues, workers = (status[what] for what in WHATS)
    slots = overview["slots"]
    click.echo(
        f"master {overview['version']}, up {duration(overview['uptime_s'])}, store {overview['store']}: "
        f"{counted(overview['workers'], 'worker')}, {slots['busy']} of {counted(slots['total'], 'slot')} busy, "
        f"{counted(overview['connections'], 'connection')}"
    )
    click.echo(f"{'ready' if overview['ready'] else 'not ready: ' + printable(overview['reason'])}\n")
    counts = ["ready", "held", "delayed", "leased", "dead"]
    print_table(
        ["queue", *counts, "capacity", "oldest", "mean run", "limits"],
        [
            [
                printable(queue["name"]),
                *(f"{queue[name]:,}" for name in (*counts, "capacity")),
                *(duration(queue[name]) for name in ("oldest_age_s", "mean_run_s")),
                _limits(queue),
            ]
            for queue in queues["queues"]
        ],
        numbers=[*counts, "capacity", "oldest", "mean run"],
    )
    if not workers["workers"]:
        click.echo("No worker is connected. `distq worker` starts one.")
        return
    print_table(
        ["worker", "pool", "slots", "busy", "state", "memory", "host", "pid", "version", "python", "seen"],
        [_worker_row(worker) for worker in workers["workers"]],
        numbers=["slots", "busy", "memory", "pid", "seen"],
    )
    for worker in workers["workers"]:
        if worker.get("unknown_names"):
            click.echo(_unknown(worker))


def _limits(queue: dict[str, Any]) -> str:
    """Describe the pauses and limits of a queue."""
    names = queue["paused_names"]
    parts = (
        "paused" if queue["paused"] else "",
        f"{counted(names, 'name')} paused" if names else "",
        f"concurrency {queue['running_max']}" if queue["running_max"] else "",
        queue["rate"] or "",
    )
    return ", ".join(filter(None, parts)) or "-"


def _unknown(worker: dict[str, Any]) -> str:
    """Describe the task names that a worker returned because it has no such function."""
    names = ", ".join(printable(name) for name in worker["unknown_first"])
    more = worker["unknown_names"] - len(worker["unknown_first"])
    others = f" and {more:,} more" if more else ""
    name = printable(worker["name"])
    return f"{name} has no function for {names}{others}; its log has the reason. The master retries these tasks."


def _worker_row(worker: dict[str, Any]) -> list[str]:
    memory = worker["memory_bytes"]
    return [
        printable(worker["name"]),
        printable(worker["pool"]),
        str(worker["slots"]),
        str(worker["busy"]),
        "draining" if worker["draining"] else "active",
        "-" if memory is None else f"{memory / 1024**2:,.0f} MiB",
        printable(worker["host"]),
        str(worker["pid"]),
        printable(worker["version"]),
        printable(worker["python"]),
        duration(worker["seen_age_s"]),
    ]
