"""`distq submit`: submits one task."""

import json
from typing import TYPE_CHECKING, Any

import click

from distq.cli.ask import seconds
from distq.cli.options import TakesJson, arguments_of_task, in_options, json_object, queue_of_task
from distq.cli.text import printable, printable_lines

if TYPE_CHECKING:
    from distq import TaskFuture

FAILED = 1


@click.command("submit", cls=TakesJson)
@click.argument("name", metavar="MODULE:FUNCTION")
@arguments_of_task
@queue_of_task
@click.option("--wait", is_flag=True, help="Wait for the end of the task, and print its result as JSON.")
@click.option("--timeout", metavar="DURATION", help="With --wait: maximum wait; unlimited by default.")
@json_object
@click.pass_context
def command(
    context: click.Context,
    name: str,
    texts: tuple[str, ...],
    queue: str,
    wait: bool,
    timeout: str | None,
    as_json: bool,
) -> int:
    """Submit one task by its name, and print its id.

    Arguments are JSON, as in: distq submit mail:send '"joe"' 3. The function is not imported here, so the options
    of its decorator do not apply: a failed task is retried DISTQ_RETRIES times. With --wait the exit code is 1 if
    the task failed.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout limits --wait: give both.")
    timeout_s = None if timeout is None else seconds(timeout, "--timeout")
    args = [argument(text) for text in texts]
    from distq.cli.environment import settings_of_command
    from distq.client.client import Client
    from distq.settings import Role

    with Client(settings=settings_of_command(context, Role.CLIENT)) as client:
        try:
            future = client.submit_named(name, args, queue=queue)
        except (TypeError, ValueError) as error:
            raise click.UsageError(in_options(error, context)) from error
        client.flush()
        if future.task_id is None:
            future.result(0)  # raises the reason of the refusal
        note_colon(name)
        try:
            if wait:
                click.echo(future.task_id, err=True)
                return print_outcome(future, timeout_s, as_json)
            click.echo(json.dumps({"task": future.task_id}) if as_json else future.task_id)
            return 0
        finally:
            client.abandon()


def note_colon(name: str) -> None:
    """Warn about a name with a dot and no colon, which is probably a path whose colon was forgotten."""
    module, _, function = name.rpartition(".")
    if module and ":" not in name:
        click.echo(
            f"distq: {printable(name)} was submitted as a name of @distq.task(name=...). The path of a function "
            f"has a colon: {printable(module)}:{printable(function)}",
            err=True,
        )


def argument(text: str) -> Any:
    """Return an argument that was given as JSON; raises BadParameter for other text."""
    from distq.core.ranges import shown
    from distq.core.strict_json import NotJson, NotStrict, read_strict

    try:
        value = read_strict(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        sentence = f"{shown(text)} has half of a surrogate pair, which is no character: write it in UTF-8."
        raise click.BadParameter(sentence, param_hint="JSON") from None
    except NotJson:
        hint = f"""A text is written '"{text}"'.""" if text.isprintable() and '"' not in text and len(text) < 60 else ""
        raise click.BadParameter(f"{shown(text)} is not JSON. {hint}".rstrip(), param_hint="JSON") from None
    except NotStrict as error:
        raise click.BadParameter(f"{shown(text)} is not strict JSON: {error}", param_hint="JSON") from None
    return value


def print_outcome(future: "TaskFuture[Any]", timeout_s: float | None, as_json: bool, *, unpickle: bool = False) -> int:
    """Print how the task ended; return the exit code. Only `unpickle` runs code that the worker chose."""
    from concurrent.futures import CancelledError

    from distq.core.errors import DistqError

    try:
        error = future.exception(timeout_s) if unpickle else None
        outcome = None if unpickle else future.packed_outcome(timeout_s)
    except TimeoutError:
        click.echo(
            f"distq: Task {future.task_id} has not ended within {timeout_s:g} s; it continues. "
            f"`distq why {future.task_id}` says what it waits for.",
            err=True,
        )
        return FAILED
    except (CancelledError, DistqError) as found:
        outcome, error = None, found
    if isinstance(outcome, tuple):
        return _print_failure(future, *_failure(future.task_key, outcome), as_json=as_json)
    if error is not None:
        return _print_failure(future, *_described(error), as_json=as_json)
    _print_result(future, future.result() if outcome is None else _shown(outcome), as_json)
    return 0


def _shown(body: bytes) -> Any:
    """Return a result without running code of it: plain values, and names in the place of objects."""
    from distq.tasks.codec import is_json
    from distq.tasks.payload_text import Described, read
    from distq.wire.errors import BadCall

    if is_json(body):
        try:
            return json.loads(body)
        except (RecursionError, ValueError):  # for example a number of 5,000 digits
            return Described(f"{len(body):,} bytes of JSON, which this Python cannot read")
    try:
        return read(body)
    except (BadCall, RecursionError, MemoryError):
        return Described(f"a pickle of {len(body):,} bytes; --unpickle reads it")


def _print_result(future: "TaskFuture[Any]", result: Any, as_json: bool) -> None:
    row = {"task": future.task_id, "state": "succeeded", "result": result}
    try:
        click.echo(json.dumps(row if as_json else result, allow_nan=False))
    except (TypeError, ValueError, RecursionError):  # JSON cannot represent it
        click.echo(json.dumps({**row, "result": repr(result)}) if as_json else printable(repr(result)))


Failed = tuple[str, str, str, str]
"""Type, text and traceback of an error, and its hint."""


def _failure(task_key: int | None, outcome: tuple[int, bytes | None, list[str] | None]) -> Failed:
    """Return how a task failed; nothing is unpickled."""
    from distq.client.outcome import unpacked
    from distq.core.states import DEAD
    from distq.tasks.payload_text import failure_of

    state, body, causes = outcome
    if state == DEAD and body:
        return (*failure_of(body), "")
    error = unpacked((state, None, causes), task_key)[1]  # an error of distq, which has no pickle
    assert error is not None
    return _described(error)


def _described(error: BaseException) -> Failed:
    from distq.core.errors import DistqError

    kind = getattr(error, "kind", None) or f"{type(error).__module__}:{type(error).__qualname__}"
    text = getattr(error, "text", None) or str(error)
    return kind, text, str(error.__cause__ or "").strip(), error.hint if isinstance(error, DistqError) else ""


def _print_failure(future: "TaskFuture[Any]", kind: str, text: str, lines: str, hint: str, *, as_json: bool) -> int:
    if as_json:
        row = {"state": "failed", "error": kind, "error_text": text, "traceback": lines.strip()}
        click.echo(json.dumps({"task": future.task_id, **row}))
        return FAILED
    if lines:
        click.echo(printable_lines(lines.strip()) + "\n", err=True)
    click.echo(f"distq: Task {future.task_id} failed: {kind}: {printable(text)} {hint}".rstrip(), err=True)
    return FAILED
