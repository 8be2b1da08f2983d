"""The plain handler, which is the user's function: the executor imports it, calls it, and encodes its outcome."""

import importlib
import pickle
from collections.abc import Callable
from typing import Final, NamedTuple

from distq.core.errors import DistqError
from distq.core.failure import pack_failure_text
from distq.core.outcome import Outcome
from distq.tasks.control import Discard, Interrupted, Retry, Snooze
from distq.tasks.current import is_interrupted
from distq.tasks.failure import (
    ResultNotSent,
    TaskStopped,
    TimeLimitExceeded,
    describe,
    text_of,
    traceback_of,
)

TEXT_BYTES_MAX: Final = 4_000
TRACEBACK_BYTES_MAX: Final = 32_000
RESULT_PROTOCOL: Final = 4
"""The pickle protocol of results: every Python from 3.8 on reads it, and standard-library programs fetch results."""

Handler = Callable[[object], object]


class HandlerUnusable(DistqError):
    """The plain handler cannot be imported or called."""

    code = "HANDLER_UNUSABLE"
    hint = "Name an importable function as module:function; the current folder is on the path."
    exit_code = 2


class RunOutcome(NamedTuple):
    """How one run of a handler ended: an outcome of the wire, its body, and for a failure a short text."""

    outcome: int
    body: bytes
    text: str = ""
    delay_s: float | None = None
    """How long the task wants to wait for its next run."""


def load_handler(name: str) -> Handler:
    """Import the function that `module:function` names.

    Raises:
        HandlerUnusable: there is no such module or function, or its import fails; the text is a sentence.
    """
    module_name, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except BaseException as error:  # a module may raise anything at import
        raise HandlerUnusable(f"The handler {name} cannot be imported: {describe(error)}.") from error
    if not callable(found):
        raise HandlerUnusable(f"The handler {name} is not a function but {type(found).__name__}.")
    return found


def run_handler(handler: Handler, payload: bytes, result_bytes_max: int) -> RunOutcome:
    """Unpickle an item, call the handler with it, and pickle the result; this function raises nothing."""
    try:
        result = handler(pickle.loads(payload))
    except BaseException as error:  # noqa: BLE001 - also sys.exit() in a handler is a failure of its task only
        return failure(error)
    try:
        body = pickle.dumps(result, RESULT_PROTOCOL)
    except BaseException as error:  # noqa: BLE001 - the result's class may raise anything while it is pickled
        if (asked := requested_outcome(error)) is not None:
            return asked
        return failure(ResultNotSent(f"cannot be sent: {describe(error)}"))._replace(outcome=Outcome.FATAL)
    if len(body) > result_bytes_max:
        return result_too_large(len(body), result_bytes_max)
    return RunOutcome(Outcome.SUCCESS, body)


def result_too_large(size_bytes: int, bytes_max: int) -> RunOutcome:
    """Return the outcome of a run whose result is larger than a body may be."""
    ran = _failed(
        "PayloadTooLarge",
        f"The task had run, but its result has {size_bytes:,} bytes, and {bytes_max:,} are allowed; "
        "return a reference to it, or raise DISTQ_PAYLOAD_BYTES_MAX",
        "",
    )
    return ran._replace(outcome=Outcome.FATAL)


def failure(error: BaseException) -> RunOutcome:
    """The outcome of a run of a plain handler that raised."""
    if (asked := requested_outcome(error)) is not None:
        return asked
    ran = _failed(type(error).__name__, text_of(error), traceback_of(error))
    if isinstance(error, TimeLimitExceeded):
        return RunOutcome(Outcome.TIMEOUT, ran.body, str(error))
    return ran._replace(delay_s=error.after_s) if isinstance(error, Retry) else ran


def requested_outcome(error: BaseException) -> RunOutcome | None:
    """Return the outcome that a task requests by raising `error`; None if the exception is a failure."""
    if isinstance(error, Snooze):
        return RunOutcome(Outcome.SNOOZED, b"", describe(error), error.after_s)
    if isinstance(error, Discard):
        text = text_of(error)
        return RunOutcome(Outcome.DISCARDED, b"", f"discarded: {text}" if text else "discarded")
    if isinstance(error, TaskStopped | Interrupted) and is_interrupted():
        # A task that raises one of these by itself fails: the master would lease it again without end.
        return RunOutcome(Outcome.RELEASED, b"")  # the master has settled it, or leases it again
    return None


def _failed(kind: str, text: str, lines: str) -> RunOutcome:
    text = _cut(text, TEXT_BYTES_MAX)
    body = pack_failure_text(kind, text, _cut(lines, TRACEBACK_BYTES_MAX))
    return RunOutcome(Outcome.FAILURE, body, f"{kind}: {text}" if text else kind)


def _cut(text: str, bytes_max: int) -> str:
    """Cut off the beginning of a long text, because the end of a traceback matters most."""
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= bytes_max else "…" + encoded[-bytes_max:].decode("utf-8", "ignore")
