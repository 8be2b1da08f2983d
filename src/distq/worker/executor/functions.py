"""The functions that an executor can run; it looks up each kind and name of an envelope once.

A task's name is a name that a module has registered, or the import path of a function. A task whose function the
executor cannot find goes back to the master, for other workers: during a deploy, workers run two versions of the code.
"""

import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from distq.core.option_values import ACCEPT_JSON, PLAIN, TASK
from distq.core.outcome import Outcome
from distq.tasks import by_value
from distq.tasks import call as _call  # noqa: F401 - it registers a task of distq's own
from distq.tasks.by_value import ValueUnreadable
from distq.tasks.codec import Codec, PayloadRefused
from distq.tasks.control import Retry
from distq.tasks.failure import (
    DependencyUnreadable,
    ResultNotSent,
    TimeLimitExceeded,
    cause_of,
    describe,
    pack_failure,
)
from distq.tasks.function import NotATask, called_by_name, named, options_of
from distq.tasks.lifespan import LifespanUnusable, injections_of, set_up_all
from distq.tasks.payload import await_payload, run_payload
from distq.tasks.sealed import SealRefused
from distq.tasks.wrapping import wrapped
from distq.worker.executor.handler import (
    Handler,
    HandlerUnusable,
    RunOutcome,
    requested_outcome,
    result_too_large,
    run_handler,
)
from distq.worker.executor.modules import check_not_shadowed
from distq.worker.executor.returned import Await, finishing, finishing_on_loop, in_a_loop_of_its_own
from distq.worker.shared.clock import MONOTONIC, Clock

PayloadRunner = Callable[[bytes], bytes | RunOutcome]
"""Runs a payload and returns the result's bytes, or another outcome; it raises nothing but TimeLimitExceeded."""

CoroutineRunner = Callable[[bytes, Callable[[], BaseException | None]], Coroutine[Any, Any, bytes | RunOutcome]]
"""Does the same on an event loop; its second argument returns why the run was cancelled, or None."""

NOT_REGISTERED: Final = "none of its modules has registered it"
ARGUMENTS_WHAT: Final = "its arguments, or results of tasks before it, are"
_FINAL: Final = (PayloadRefused, DependencyUnreadable, ResultNotSent, SealRefused, ValueUnreadable)
"""Failures that another attempt would repeat."""
RETRY_NAME_S: Final = 1.0
"""Minimum seconds between two searches for a name without a function; the master decides when to lease it again."""
UNKNOWN_NAMES_MAX: Final = 10_000
"""Maximum names for which the executor remembers why they have no function: clients may invent any number of names."""
RUNNERS_MAX: Final = 10_000
"""Maximum names for which the executor remembers how to run them: clients may invent any number of names."""


def set_up() -> None:
    """Run the lifespan hooks of the modules, which make objects for their tasks.

    Raises:
        HookUnusable: a hook failed; the text is a sentence.
    """
    try:
        set_up_all()
    except LifespanUnusable as error:
        raise HookUnusable(str(error)) from error


class HookUnusable(HandlerUnusable):
    """A lifespan hook of a module failed."""

    code = LifespanUnusable.code
    hint = LifespanUnusable.hint


class Functions:
    """The functions of one executor."""

    def __init__(
        self,
        handler: Handler | None,
        accept: str,
        result_bytes_max: int,
        lacks: Callable[[str], None],
        clock: Clock = MONOTONIC,
    ) -> None:
        self._handler = handler
        self.codec = Codec(json_only=accept == ACCEPT_JSON)
        """Decides which payloads this executor may decode: all, or only JSON."""
        self._result_bytes_max = result_bytes_max
        self._warn = lacks
        self._clock = clock
        self._why_unknown: dict[str, str] = {}
        """The last warning for each name without a function."""
        self._finish = finishing(result_bytes_max, in_a_loop_of_its_own)
        self._finish_on_loop = finishing_on_loop(result_bytes_max)
        self._runners: dict[tuple[str, str], PayloadRunner] = {}
        self._coroutines: dict[tuple[str, str], CoroutineRunner] = {}
        self._finding = threading.Lock()

    def awaits_by(self, await_: Await) -> None:
        """Await with `await_` what functions return, instead of each awaitable on an event loop of its own."""
        self._finish = finishing(self._result_bytes_max, await_)

    def runner_of(self, kind: str, name: str) -> PayloadRunner:
        """Return how to run tasks of that kind and name; the first run also imports the function's module."""
        return self._runners.get((kind, name)) or self._first_runner(kind, name)

    def _first_runner(self, kind: str, name: str) -> PayloadRunner:
        def run(payload: bytes) -> bytes | RunOutcome:
            return self.found(kind, name)(payload)

        return run

    def found(self, kind: str, name: str) -> PayloadRunner:
        """Do as `runner_of`, but find the function now; several threads may call this at the same time."""
        found = self._runners.get((kind, name))
        if found is None:
            with self._finding:
                found = self._runners.get((kind, name))
                if found is None:
                    found = self._plain() if kind == PLAIN else self._task(name)
                    self._remember(kind, name, found)
        return found

    def _remember(self, kind: str, name: str, run: PayloadRunner) -> None:
        while len(self._runners) >= RUNNERS_MAX:
            oldest = next(iter(self._runners))
            del self._runners[oldest]
            self._coroutines.pop(oldest, None)
        self._runners[kind, name] = run

    def coroutine_of(self, kind: str, name: str) -> CoroutineRunner | None:
        """Return how to run tasks of that name on an event loop.

        It is None if their function runs in a thread, or `found` was not called for that name.
        """
        return self._coroutines.get((kind, name))

    def _plain(self) -> PayloadRunner:
        handler, limit = self._handler, self._result_bytes_max
        if handler is None:
            return self._unknown(PLAIN, "it has no plain handler", PLAIN)
        if self.codec.json_only:
            return self._unknown(PLAIN, "plain items are pickled, and this worker accepts only JSON", PLAIN)
        return lambda payload: run_handler(handler, payload, limit)

    def _task(self, name: str) -> PayloadRunner:
        if name.startswith(by_value.NAME_PREFIX):
            return self._by_value(name)
        function = named(name)
        if function is not None and function.__module__ not in sys.modules:
            function = None  # its module registered it, and then its import failed
        if function is None and self.codec.json_only:
            return self._unknown(name, f"{NOT_REGISTERED}, and with DISTQ_ACCEPT=json it imports no other function")
        if function is None:
            try:
                function = _imported(name)
            except TimeLimitExceeded:
                raise
            except BaseException as error:  # noqa: BLE001 - any error of an import releases the task
                return self._unknown(name, describe(error))
        try:
            injected = {parameter: hook.value() for parameter, hook in injections_of(function).items()}
        except LifespanUnusable as error:
            return self._unknown(name, str(error).rstrip("."))
        called = called_by_name(name, function)
        call = _with_injected(name, called, injected) if injected else called
        if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
            self._coroutines[TASK, name] = self._awaiting(function, call)
            return self._calling(function, call)
        return self._calling(function, wrapped(call))

    def _awaiting(self, function: Callable[..., Any], call: Callable[..., Any]) -> CoroutineRunner:
        """Return how to run a coroutine function on an event loop."""
        limit, codec = self._result_bytes_max, self.codec

        async def run(payload: bytes, why_cancelled: Callable[[], BaseException | None]) -> bytes | RunOutcome:
            try:
                codec.check(payload, ARGUMENTS_WHAT)
                body = await await_payload(call, payload, self._finish_on_loop)
            except BaseException as error:  # noqa: BLE001 - as in `_calling`; a cancelled run has an outcome too
                reason = why_cancelled() if type(error).__name__ == "CancelledError" else None
                return failed(function, error if reason is None else reason.with_traceback(error.__traceback__))
            return body if len(body) <= limit else result_too_large(len(body), limit)

        return run

    def _unknown(self, name: str, why: str, kind: str = TASK) -> PayloadRunner:
        if self._why_unknown.get(name) != why:
            if len(self._why_unknown) >= UNKNOWN_NAMES_MAX:
                self._why_unknown.clear()
            self._why_unknown[name] = why
            self._warn(f"This worker cannot run {name} and hands it back: {why}.")
        again_at = self._clock() + RETRY_NAME_S

        def run(payload: bytes) -> bytes | RunOutcome:
            if self._clock() < again_at:
                return RunOutcome(Outcome.UNKNOWN, b"", why)
            self._runners.pop((kind, name), None)
            importlib.invalidate_caches()  # the module may have been installed meanwhile
            return self.found(kind, name)(payload)

        return run

    def _calling(self, function: Callable[..., Any], call: Callable[..., Any]) -> PayloadRunner:
        """Return how to run a function: through `call`, with the function's options."""
        limit, codec, finish, json_only = self._result_bytes_max, self.codec, self._finish, self.codec.json_only

        def run(payload: bytes) -> bytes | RunOutcome:
            try:
                if json_only:
                    codec.check(payload, ARGUMENTS_WHAT)
                body = run_payload(call, payload, finish)
            except BaseException as error:  # noqa: BLE001 - any error, also sys.exit(), fails this task only
                return failed(function, error, _pack_by_value if by_value.has_values(payload) else pack_failure)
            return body if len(body) <= limit else result_too_large(len(body), limit)

        return run

    def _by_value(self, name: str) -> PayloadRunner:
        """Return how to run a function that each payload carries."""
        limit, finish, json_only = self._result_bytes_max, self._finish, self.codec.json_only
        refusal = (
            f"{name.removeprefix(by_value.NAME_PREFIX)} was sent by value, and this worker accepts only JSON "
            "(DISTQ_ACCEPT=json): submit a task that the worker's modules register, with submit_named"
        )

        def run(payload: bytes) -> bytes | RunOutcome:
            sent: Callable[..., Any] = run

            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal sent
                sent, own_args, own_kwargs = by_value.split_call(args, kwargs)
                return wrapped(sent)(*own_args, **own_kwargs)

            try:
                if json_only:
                    raise ValueUnreadable(refusal)  # noqa: TRY301 - as any other failure of the task
                body = run_payload(call, payload, finish, by_value.dump)
            except BaseException as error:  # noqa: BLE001 - as in `_calling`
                return failed(sent, error, _pack_by_value)
            return body if len(body) <= limit else result_too_large(len(body), limit)

        return run


def _with_injected(name: str, called: Callable[..., Any], injected: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function with the arguments that this worker injects, which a client cannot replace."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if given := injected.keys() & kwargs.keys():
            raise PayloadRefused(f"{name} was given {', '.join(sorted(given))}, which only its worker gives")
        return called(*args, **injected, **kwargs)

    return call


def failed(
    function: Callable[..., Any],
    error: BaseException,
    pack: Callable[[BaseException], bytes] = pack_failure,
) -> RunOutcome:
    """Return the outcome of a task that raised `error`; it depends on the function's options."""
    if (asked := requested_outcome(error)) is not None:
        return asked
    if isinstance(error, Retry):
        return RunOutcome(Outcome.FAILURE, pack(error), cause_of(error), error.after_s)
    if isinstance(error, TimeLimitExceeded):
        outcome, text = Outcome.TIMEOUT, str(error)
    else:
        outcome, text = Outcome.FAILURE, cause_of(error)
    if isinstance(error, _FINAL) or not options_of(function).retries_after(error):
        outcome = Outcome.FATAL
    return RunOutcome(outcome, pack(error), text)


def _pack_by_value(error: BaseException) -> bytes:
    return pack_failure(error, by_value.dump)


def failed_by_limit(error: TimeLimitExceeded) -> RunOutcome:
    """Return the outcome of a task that exceeded its time limit."""
    return RunOutcome(Outcome.TIMEOUT, pack_failure(error), str(error))


def _imported(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    if not path:
        raise NotATask(NOT_REGISTERED)
    check_not_shadowed(module)
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise NotATask(f"it is not a function but {type(found).__name__}")
    return found
