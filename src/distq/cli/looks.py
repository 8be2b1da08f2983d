"""`distq show`, `why` and `stack`: one task, by its id."""

import json
from collections.abc import Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any

import click

from distq.cli.ask import admin
from distq.cli.text import printable, printable_lines

STACK_ANSWER_S = 10.0
TIMES = ("submitted_at", "since", "leased_at", "due_at", "expires_at")
NUMBERS = ("priority", "cost", "attempt", "retries", "failures", "lost", "deliveries", "time_limit_s")


@click.command("show")
@click.argument("task_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def show(context: click.Context, task_id: str, as_json: bool) -> None:
    """Print all that is known of a task: where it stands, why, and how its attempts ended."""
    task = admin(context, "show", {"id": task_id})
    if as_json:
        click.echo(json.dumps(task, indent=2))
        return
    click.echo(f"{task['id']}  {printable(task['name'])} on the queue {printable(task['queue'])}: {task['state']}")
    click.echo(f"  {printable(task['why'])}")
    for word in TIMES:
        if task[word] is not None:
            click.echo(f"  {word.removesuffix('_at'):<14} {_moment(task[word])}")
    for word in NUMBERS:
        if task[word] is not None:
            click.echo(f"  {word.removesuffix('_s').replace('_', ' '):<14} {task[word]:g}")
    for word, text in _told(task).items():
        click.echo(f"  {word:<14} {printable(text)}".rstrip())
    times = task.get("caused_at", ())  # a master of a version before tells none
    for number, (cause, at) in enumerate(zip_longest(task["causes"], times), 1):
        click.echo(f"  {f'cause {number}':<14} {'' if at is None else f'{_moment(at)}  '}{printable(cause)}")


def _told(task: Mapping[str, Any]) -> dict[str, str]:
    """What is told in words, if there is something to tell."""
    told = {word.split("_")[0]: task[word] for word in ("holder", "concurrency_key", "unique_key") if task[word]}
    if task["after"]:
        first, size = task["after"]
        told["after"] = f"{size:,} {'task' if size == 1 else 'tasks'}, from {first} on"
    if task["progress"]:
        fraction, text = task["progress"]
        told["progress"] = f"{fraction:.0%} {text}"
    return told


@click.command("why")
@click.argument("task_id", metavar="ID")
@click.pass_context
def why(context: click.Context, task_id: str) -> None:
    """Say in a sentence why a task does not run."""
    click.echo(printable(admin(context, "show", {"id": task_id})["why"]))


@click.command("stack")
@click.argument("task_id", metavar="ID")
@click.pass_context
def stack(context: click.Context, task_id: str) -> None:
    """Print where a task is that runs: the stack of its thread, also while C code holds the interpreter."""
    told: dict[str, Any] = admin(context, "stack", {"id": task_id}, STACK_ANSWER_S)
    click.echo(printable_lines(told["stack"]) or "It is just beginning, or has just ended: there is no stack to show.")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
