"""`distq show`, `why` and `stack`: show one task by its id."""

import json
from collections.abc import Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any

import click

from distq.cli.ask import admin
from distq.cli.options import json_object, task_id
from distq.cli.text import printable, printable_lines
from distq.core.plurals import counted

STACK_ANSWER_S = 10.0
TIMES = ("submitted_at", "since", "leased_at", "due_at", "expires_at")
NUMBERS = ("priority", "cost", "attempt", "retries", "failures", "lost", "deliveries", "time_limit_s")


@click.command("show")
@task_id
@json_object
@click.pass_context
def show(context: click.Context, task_id: str, as_json: bool) -> None:
    """Show everything about a task: its state, the reason, and how its attempts ended."""
    task = admin(context, "show", {"id": task_id})
    if as_json:
        click.echo(json.dumps(task, indent=2))
        return
    for line in lines_of(task):
        click.echo(line)


def lines_of(task: Mapping[str, Any]) -> list[str]:
    """Return the lines that describe a task, of which the master has sent all facts."""
    lines = [f"{task['id']}  {printable(task['name'])} on the queue {printable(task['queue'])}: {task['state']}"]
    lines.append(f"  {printable(task['why'])}")
    at = {field: task[field] for field in TIMES if task[field] is not None}
    lines += [f"  {field.removesuffix('_at'):<14} {_local_time(at[field])}" for field in at]
    lines += [
        f"  {field.removesuffix('_s').replace('_', ' '):<14} {task[field]:g}"
        for field in NUMBERS
        if task[field] is not None
    ]
    lines += [f"  {field:<14} {printable(text)}".rstrip() for field, text in _texts(task).items()]
    times = task.get("caused_at", ())  # a master of the previous release sends none
    for number, (cause, at) in enumerate(zip_longest(task["causes"], times), 1):
        lines.append(f"  {f'cause {number}':<14} {'' if at is None else f'{_local_time(at)}  '}{printable(cause)}")
    return lines


def _texts(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a task that are text, without the empty ones."""
    texts = {field.split("_")[0]: task[field] for field in ("holder", "concurrency_key", "unique_key") if task[field]}
    if task["after"]:
        first, size = task["after"]
        texts["after"] = f"{counted(size, 'task')}, from {first} on"
    if task["progress"]:
        fraction, text = task["progress"]
        texts["progress"] = f"{fraction:.0%} {text}"
    return texts


@click.command("why")
@task_id
@click.pass_context
def why(context: click.Context, task_id: str) -> None:
    """Print why a task does not run, in one sentence."""
    click.echo(printable(admin(context, "show", {"id": task_id})["why"]))


@click.command("stack")
@task_id
@click.pass_context
def stack(context: click.Context, task_id: str) -> None:
    """Print the stack of a running task's thread, also while C code holds the interpreter."""
    answer: dict[str, Any] = admin(context, "stack", {"id": task_id}, STACK_ANSWER_S)
    click.echo(printable_lines(answer["stack"]) or "The task is about to start, or has just ended: there is no stack.")


def _local_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
